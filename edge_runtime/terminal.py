"""What the commands share: one line for every error, quiet endings, and text that cannot steer a terminal."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from edge_runtime.delegates import CPU, DELEGATES, DelegateRequest
from edge_runtime.engines import AUTO, ENGINES
from edge_runtime.errors import DelegateError, EdgeError
from edge_runtime.receipt import Receipt

ERROR = 1
INTERRUPTED = 130
READER_GONE = 141


def run_command(name: str, body: Callable[[], int], debug: bool = False) -> int:
    """The exit code of `body`; what goes wrong in it is one line on stderr, and with `debug` a traceback before it."""
    with nullcontext() if debug else _stderr_for_ourselves():
        try:
            code = body()
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            _drop_stdout()
            return READER_GONE
        except (EdgeError, OSError) as error:
            if isinstance(error, OSError):
                _drop_stdout()
            complain(name, f"error: {error}", error if debug else None)
            return ERROR


def complain(name: str, message: str, cause: BaseException | None = None) -> None:
    """Print one line on stderr, after the traceback of `cause` if there is one."""
    if cause is not None:
        traceback.print_exception(cause)
    print(f"{name}: {printable(message)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` with everything that could move the cursor, break the line or not be encoded as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def describe(receipt: Receipt) -> str:
    """One line: "litert 2.3.0 on cpu, 2 threads"; of a delegate also its share of the work, and how far it is off."""
    threads = "1 thread" if receipt.threads == 1 else f"{receipt.threads} threads"
    text = f"{receipt.engine} {receipt.version} on {receipt.device}, {threads}"
    if receipt.delegated and receipt.partitions:
        pieces = "1 piece" if receipt.partitions == 1 else f"{receipt.partitions} pieces"
        text += f", {receipt.delegated} of {receipt.operations} operations in {pieces}"
    if receipt.probe_difference is not None:
        text += f", within {receipt.probe_difference:.2g} of the CPU"
    return printable(text)


def complain_about(name: str, receipt: Receipt) -> None:
    """Print what its user should know of a receipt: one line for a warning, one for a fallback."""
    if receipt.warning is not None:
        complain(name, f"warning: {receipt.warning}")
    if receipt.fallback is not None:
        complain(name, f"warning: {receipt.fallback}; the CPU is used instead")


def delegate(text: str) -> str:
    """An argparse type: "auto", or what `DelegateRequest` can parse."""
    if text != AUTO:
        try:
            DelegateRequest.parse(text)
        except DelegateError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def add_engine_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """What decides about who computes, but for the number of threads; `several` delegates make a list."""
    names = ", ".join((AUTO, CPU, *DELEGATES))
    parser.add_argument(
        "--engine", choices=[AUTO, *ENGINES], default=AUTO, help="which interpreter to use; default: %(default)s"
    )
    parser.add_argument(
        "--delegate",
        type=delegate,
        action="append" if several else "store",
        metavar="NAME[:key=value,...]",
        help=f"{names}, or the path of a plugin library; {AUTO}, the default, is what irv2-benchmark --save found the "
        "fastest here, otherwise the CPU",
    )


def positive(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def prepare_streams() -> None:
    """Let no label or file name fail to be encoded, whatever the locale; closed streams swallow what is printed."""
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


@contextmanager
def _stderr_for_ourselves() -> Iterator[None]:
    """Send to nowhere what libraries print there: interpreters about themselves, libtiff about damaged files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = sys.stderr
        try:
            kept = os.dup(2) if shown.fileno() == 2 else None
        except (AttributeError, OSError, ValueError):  # closed, or captured by whoever called us
            kept = None
        if kept is None:
            yield
            return
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with open(kept, "w", buffering=1, encoding=shown.encoding, errors="backslashreplace") as ours:
            sys.stderr = ours
            try:
                yield
            finally:
                sys.stderr = shown
                os.dup2(kept, 2)


def _drop_stdout() -> None:
    """Let the flush at exit fail no more."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
