"""Options and lines of irv2-predict, most of which irv2-benchmark shares."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from edge_runtime.artifact import check_tflite, has_card
from edge_runtime.camera.sources import ACCEPTED
from edge_runtime.console import INTERRUPTED, complain, printable
from edge_runtime.conventions import CONVENTIONS, FIT_HELP, GEOMETRIES, parse_size
from edge_runtime.delegates import CPU, DELEGATES, DelegateRequest
from edge_runtime.engines import AUTO, ENGINES, PASSED, Receipt
from edge_runtime.errors import ArtifactError, DelegateError

EXIT_CODES = {
    0: "done",
    1: "an error, or an image that cannot be read",
    2: "wrong usage",
    INTERRUPTED: "Ctrl-C",
    143: "SIGTERM",
}
"""What the exit codes of both commands mean."""


def receipt_line(receipt: Receipt) -> str:
    """Return "litert 2.3.0 on cpu, 2 threads"; for a delegate also its share of the work, and its difference."""
    threads = "1 thread" if receipt.threads == 1 else f"{receipt.threads} threads"
    text = f"{receipt.engine} {receipt.version} on {receipt.device}, {threads}"
    if receipt.delegated and receipt.partitions:
        partitions = "1 partition" if receipt.partitions == 1 else f"{receipt.partitions} partitions"
        text += f", {receipt.delegated} of {receipt.operations} operations in {partitions}"
    if receipt.trial == PASSED:
        text += f", passed its trial in {receipt.trial_ms:.0f} ms"
    if receipt.unverified is not None:
        text += ", unverified"
    elif receipt.probe_difference is not None:
        text += f", within {receipt.probe_difference:.2g} of the CPU"
    return printable(text)


def warn_about(name: str, receipt: Receipt) -> None:
    """Print what a receipt warns of, and its remarks, on stderr, one line each."""
    if receipt.warning is not None:
        complain(name, f"warning: {receipt.warning}")
    if receipt.fallback is not None:
        complain(name, f"warning: {receipt.fallback}; the CPU is used instead")
    if receipt.unverified is not None:
        complain(name, f"warning: answers of {receipt.requested} are not verified: {receipt.unverified}")
    for remark in receipt.remarks:
        complain(name, f"note: {remark}")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and --sha256."""
    parser.add_argument("model", metavar="MODEL", help="the .tflite file")
    parser.add_argument("--sha256", type=sha256_hex, metavar="HEX", help="refuse a model file with any other SHA-256")


def add_general_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command has: --version, --debug, and what its exit codes mean."""
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the output of native libraries")
    parser.epilog = f"exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}"


class _ShowVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata  # slow to import, and no other option needs it

        try:
            print(parser.prog, metadata.version("irv2-edge"))
        except metadata.PackageNotFoundError:
            print(parser.prog, "of a copy that is not installed, version unknown")
        parser.exit()


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


def add_foreign_options(parser: argparse.ArgumentParser) -> None:
    """Add what has to be said of a model without a card, where its file does not say it."""
    group = parser.add_argument_group("models without a card", "what their TFLite Metadata do not say")
    group.add_argument(
        "--preprocessing",
        metavar="|".join([*CONVENTIONS, "FILE"]),
        help="how its images are prepared: a convention, or a JSON file with mean and std in units of a pixel",
    )
    group.add_argument("--fit", metavar="|".join(GEOMETRIES), help=f"{FIT_HELP[0].lower()}{FIT_HELP[1:-1]}")
    group.add_argument("--labels", metavar="FILE", help="names of its classes: text, CSV, JSON or class_indices")
    group.add_argument("--input-size", type=size, metavar="N|HxW", help="size of the images, if it takes any")


def foreign_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return `spec` and `labels` for `Classifier.open`; none for an artifact, which says both itself.

    Raises:
        ArtifactError: an option is given for an artifact, cannot be read, or does not fit the model; or --sha256
            pins another file.
    """
    given = [name for name in ("preprocessing", "fit", "labels", "input_size") if getattr(arguments, name) is not None]
    if not given:
        return {}
    path = Path(arguments.model)
    check_tflite(path, arguments.sha256)
    if has_card(path):
        option = given[0].replace("_", "-")
        raise ArtifactError(f"--{option} is for models without a card, {path} has one: leave it out")
    from edge_runtime.foreign.reading import read_foreign  # artifacts need neither
    from edge_runtime.labels import read_labels

    found = None if arguments.labels is None else read_labels(arguments.labels)
    spec = read_foreign(path).spec(arguments.preprocessing, arguments.input_size, arguments.fit)
    return {"spec": spec, "labels": None if found is None else found.names}


def add_camera_options(parser: argparse.ArgumentParser) -> None:
    """Add what is said of a camera."""
    group = parser.add_argument_group("a camera, in place of images")
    group.add_argument("--camera", metavar="SOURCE", help=f"answer its newest frame until Ctrl-C: {ACCEPTED}")
    group.add_argument("--smooth", type=positive, metavar="N", help="show the mean of the last N answers; default: 1")
    group.add_argument(
        "--on-change",
        type=_command,
        metavar="CMD",
        help="run a program whenever the label changes, with IRV2_LABEL and IRV2_PROBABILITY in its environment",
    )


def camera_option(arguments: argparse.Namespace) -> str | None:
    """Return the first option given that needs --camera."""
    given = {"--smooth": arguments.smooth, "--on-change": arguments.on_change}
    return next((name for name, value in given.items() if value is not None), None)


def size(text: str) -> tuple[int, int]:
    """Parse an argparse value: "224" or "224x256"."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def delegate(text: str) -> str:
    """Check an argparse value: "auto", or what `DelegateRequest` can parse."""
    if text != AUTO:
        try:
            DelegateRequest.parse(text)
        except DelegateError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def sha256_hex(text: str) -> str:
    """Parse an argparse value: 64 hexadecimal digits."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 of 64 hexadecimal digits")
    return text.lower()


def positive(text: str) -> int:
    """Parse an argparse value: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _command(text: str) -> list[str]:
    from edge_runtime.camera.on_change import command

    return command(text)
