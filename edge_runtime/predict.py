"""`irv2-predict`: what is in these pictures?"""

from __future__ import annotations

import argparse
import glob
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import BinaryIO

from edge_runtime.classifier import Classifier
from edge_runtime.engines import AUTO
from edge_runtime.errors import EdgeError, ImageError
from edge_runtime.preprocess import SUFFIXES, load_pixels
from edge_runtime.recorder import Recorder
from edge_runtime.terminal import (
    ERROR,
    add_engine_options,
    complain,
    complain_about,
    describe,
    positive,
    prepare_streams,
    printable,
    run_command,
)
from edge_runtime.top_k import Prediction

NAME = "irv2-predict"
STDIN = "-"
TOP_K = 5
BAR_WIDTH = 20
WIDEST_LABEL = 40
LONG_LIST = 20
"""From so many images on a progress line is shown."""


@dataclass(frozen=True)
class Answer:
    """What became of one image: its best classes and two times in milliseconds, or the error in their place."""

    image: str
    predictions: list[Prediction]
    preprocess_ms: float | None = None
    inference_ms: float | None = None
    error: EdgeError | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, or 1 when the model or any of the images cannot be read."""
    prepare_streams()
    arguments = _parser().parse_intermixed_args(argv)
    return run_command(NAME, lambda: _predict(arguments), arguments.debug)


def find_pictures(wanted: Sequence[str]) -> list[str]:
    """Files, "-", the pictures in folders and below, what matches patterns; what leads nowhere stays as it is."""
    return [picture for item in wanted for picture in _expand(item) or [item]]


def _expand(item: str) -> list[str]:
    exists = item == STDIN or os.path.lexists(item)
    matches = [item] if exists else sorted(glob.glob(item, recursive=True))
    return [picture for match in matches for picture in (_pictures_below(match) if os.path.isdir(match) else [match])]


def _pictures_below(folder: str) -> list[str]:
    """Sorted, with the folders that cannot be read among them: their turn will bring the error."""
    unreadable: list[str] = []
    pictures = [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, onerror=lambda error: unreadable.append(error.filename))
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    return sorted(pictures + unreadable)


def _predict(arguments: argparse.Namespace) -> int:
    images = find_pictures(arguments.image)
    with Classifier.open(
        arguments.model,
        engine=arguments.engine,
        delegate=arguments.delegate or AUTO,
        strict=arguments.strict,
        threads=arguments.threads,
        sha256=arguments.sha256,
    ) as classifier:
        complain_about(NAME, classifier.receipt)
        show = _choose_writer(classifier, arguments, len(images))
        recorder = Recorder(arguments.record, arguments.model, classifier) if arguments.record else None
        progress, failed = ProgressLine(len(images)), 0
        for image in images:
            answer = _classify(classifier, image, arguments.top_k or TOP_K, recorder)
            failed += answer.error is not None
            progress.erase()
            show(answer)
            progress.step()
        progress.erase()
        if recorder is not None:
            recorder.write()
        if not arguments.json:
            print(describe(classifier.receipt))
    if failed:
        complain(NAME, f"error: {failed} of {len(images)} images could not be classified")
    return ERROR if failed else 0


def _classify(classifier: Classifier, image: str, top_k: int, recorder: Recorder | None) -> Answer:
    try:
        start = time.perf_counter()
        pixels = load_pixels(_source(image), classifier.spec)
        ready = time.perf_counter()
        probabilities = classifier.run(pixels)
        done = time.perf_counter()
        best = classifier.best(probabilities, top_k)
        if recorder is not None:
            recorder.add(image, probabilities)
    except EdgeError as error:
        return Answer(image, [], error=error)
    return Answer(image, best, 1000 * (ready - start), 1000 * (done - ready))


def _source(image: str) -> str | BinaryIO:
    if image == STDIN:
        if sys.stdin is None:
            raise ImageError("standard input is closed: pass a file")
        return sys.stdin.buffer
    if os.path.isdir(image):
        raise ImageError(f"folder {image} holds no picture that can be read: it needs {', '.join(SUFFIXES)} files")
    return image


def _choose_writer(classifier: Classifier, arguments: argparse.Namespace, count: int) -> Callable[[Answer], None]:
    """How to show an answer: as JSON, as a table, or, when there are many and nobody asked for more, as one line."""
    if arguments.json:
        receipt = asdict(classifier.receipt)
        return lambda answer: print(json.dumps(_to_json(answer, receipt)), flush=True)
    width = min(WIDEST_LABEL, max(len(printable(label)) for label in classifier.labels))
    write = _print_table if count == 1 or arguments.top_k else _print_line

    def show(answer: Answer) -> None:
        if answer.error is None:
            write(answer, width)
        else:
            complain(NAME, str(answer.error), answer.error if arguments.debug else None)

    return show


def _to_json(answer: Answer, receipt: dict[str, object]) -> dict[str, object]:
    return {
        "image": answer.image,
        "predictions": [asdict(prediction) for prediction in answer.predictions],
        "receipt": receipt,
        "timings_ms": {"preprocess": _rounded(answer.preprocess_ms), "inference": _rounded(answer.inference_ms)},
        "error": None if answer.error is None else str(answer.error),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _print_table(answer: Answer, width: int) -> None:
    print(printable(answer.image))
    for prediction in answer.predictions:
        bar = _block() * round(BAR_WIDTH * prediction.probability)
        print(f"  {printable(prediction.label):<{width}}  {prediction.probability:6.1%}  {bar}".rstrip())


def _print_line(answer: Answer, width: int) -> None:
    best = answer.predictions[0]
    print(f"{printable(best.label):<{width}}  {best.probability:6.1%}  {printable(answer.image)}", flush=True)


def _block() -> str:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#"
    return "█"


class ProgressLine:
    """One line on stderr, "120/1000 images, 57.3/s", on a terminal and for long lists only."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._start = total, 0, time.monotonic()
        self._on = total >= LONG_LIST and sys.stderr.isatty()

    def step(self) -> None:
        """One more image is done."""
        self._done += 1
        if self._on:
            rate = self._done / max(time.monotonic() - self._start, 1e-9)
            print(f"{self._done}/{self._total} images, {rate:.1f}/s", end="", file=sys.stderr, flush=True)

    def erase(self) -> None:
        """Make room for a line of output."""
        if self._on and self._done:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def sha256_hex(text: str) -> str:
    """An argparse type: 64 hexadecimal digits."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 of 64 hexadecimal digits")
    return text.lower()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description="Say what pictures show, with a model of irv2-convert.")
    parser.add_argument("model", metavar="MODEL", help="the .tflite file")
    parser.add_argument(
        "image",
        metavar="IMAGE",
        nargs="+",
        help="a picture, a folder (searched to the bottom), a quoted pattern such as '*.jpg', or - for stdin",
    )
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="K",
        help=f"how many classes to show for each picture; default: {TOP_K}, of several pictures without --json 1",
    )
    add_engine_options(parser)
    parser.add_argument("--strict", action="store_true", help="fail where the delegate cannot be used")
    parser.add_argument("--threads", type=positive, metavar="N", help="of the interpreter; default: one a core")
    parser.add_argument("--sha256", type=sha256_hex, metavar="HEX", help="refuse any other model file than this one")
    parser.add_argument(
        "--record", metavar="FILE", help="also write all probabilities as JSON, for irv2-drift --recorded on a host"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--debug", action="store_true", help="show tracebacks, and what native libraries print")
    return parser
