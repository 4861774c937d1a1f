"""Options and lines that irv2-predict and irv2-benchmark share."""

from __future__ import annotations

import argparse

from edge_runtime.console import complain, printable
from edge_runtime.delegates import CPU, DELEGATES, DelegateRequest
from edge_runtime.engines import AUTO, ENGINES, Receipt
from edge_runtime.errors import DelegateError


def receipt_line(receipt: Receipt) -> str:
    """Return "litert 2.3.0 on cpu, 2 threads"; for a delegate also its share of the work, and its difference."""
    threads = "1 thread" if receipt.threads == 1 else f"{receipt.threads} threads"
    text = f"{receipt.engine} {receipt.version} on {receipt.device}, {threads}"
    if receipt.delegated and receipt.partitions:
        partitions = "1 partition" if receipt.partitions == 1 else f"{receipt.partitions} partitions"
        text += f", {receipt.delegated} of {receipt.operations} operations in {partitions}"
    if receipt.probe_difference is not None:
        text += f", within {receipt.probe_difference:.2g} of the CPU"
    return printable(text)


def warn_about(name: str, receipt: Receipt) -> None:
    """Print the warning and the fallback of a receipt on stderr, one line each."""
    if receipt.warning is not None:
        complain(name, f"warning: {receipt.warning}")
    if receipt.fallback is not None:
        complain(name, f"warning: {receipt.fallback}; the CPU is used instead")


def add_engine_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add --engine and --delegate; with `several`, --delegate can be repeated."""
    names = ", ".join((AUTO, CPU, *DELEGATES))
    parser.add_argument(
        "--engine", choices=[AUTO, *ENGINES], default=AUTO, help="interpreter to use; default: %(default)s"
    )
    parser.add_argument(
        "--delegate",
        type=delegate,
        action="append" if several else "store",
        metavar="NAME[:key=value,...]",
        help=f"{names}, or the path of a plugin library; default: {AUTO}, the one that irv2-benchmark --save found "
        "fastest on this device, or else the CPU",
    )


def delegate(text: str) -> str:
    """Check an argparse value: "auto", or what `DelegateRequest` can parse."""
    if text != AUTO:
        try:
            DelegateRequest.parse(text)
        except DelegateError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def positive(text: str) -> int:
    """Parse an argparse value: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
