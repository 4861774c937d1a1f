"""`irv2-predict`: what is in these images?"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from edge_runtime._cli import (
    add_camera_options,
    add_engine_options,
    add_foreign_options,
    add_general_options,
    add_model,
    camera_option,
    foreign_options,
    positive,
    receipt_line,
    warn_about,
)
from edge_runtime.answers import Answer, AnswerTable, AnswerText, answer_image, known_of, to_json
from edge_runtime.camera.sources import find_camera
from edge_runtime.classifier import TOP_K, Classifier, TopK
from edge_runtime.console import ERASE_LINE, ERROR, complain, prepare_streams, printable, run_command
from edge_runtime.engines import AUTO
from edge_runtime.errors import ImageError
from edge_runtime.preprocess import SUFFIXES, SUPPORTED, looks_black
from edge_runtime.recorder import Recorder
from edge_runtime.specs import THRESHOLD
from edge_runtime.tensors import Probabilities

NAME = "irv2-predict"
STDIN = "-"
LONG_LIST = 20
"""The least number of images for which a progress line is shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 if the model or any of the images cannot be read."""
    prepare_streams()
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    if mistake := _mistake(arguments):
        parser.error(mistake)
    return run_command(NAME, lambda: _predict(arguments), arguments.debug)


def find_images(arguments: Sequence[str], note: Callable[[str], object] = lambda _: None) -> list[str]:
    """Expand folders and patterns to the images in them; files, "-" and what matches nothing stay as they are.

    `note` is told of the files that are left out.
    """
    return [image for argument in arguments for image in _expand(argument, note) or [argument]]


def _expand(argument: str, note: Callable[[str], object]) -> list[str]:
    matches = [argument]
    if argument != STDIN and not os.path.lexists(argument):
        import glob  # paths need it less often than it is worth waiting for

        matches = sorted(glob.glob(argument, recursive=True))
    return [image for match in matches for image in (_images_below(match, note) if os.path.isdir(match) else [match])]


def _images_below(folder: str, note: Callable[[str], object]) -> list[str]:
    """List the images in a folder and below, sorted, and the folders that cannot be read: their turn is an error.

    What is hidden is left out, such as thumbnails.
    """
    unreadable: list[str] = []
    files = [
        path
        for parent, _, names in os.walk(folder, onerror=lambda error: unreadable.append(error.filename))
        for name in names
        if f"{os.sep}." not in os.sep + (path := os.path.join(parent, name))[len(folder) :]
    ]
    images = [file for file in files if file.lower().endswith(SUFFIXES)]
    if others := set(files).difference(images):
        kinds = sorted({os.path.splitext(file)[1] or os.path.basename(file) for file in others})
        note(f"{folder}: files not looked at: {len(others)} ({', '.join(kinds[:9])}); {SUPPORTED}")
    return sorted(images + unreadable)


def _mistake(arguments: argparse.Namespace) -> str | None:
    """Return what is wrong with the combination of options, or None."""
    if arguments.camera is None:
        given = camera_option(arguments)
        return f"{given} is for --camera" if given else None if arguments.image else "pass an IMAGE, or --camera SOURCE"
    if arguments.image:
        return f"{arguments.image[0]!r} and --camera: pass images or a camera"
    given = "--record" if arguments.record else "--csv" if arguments.csv else None
    return f"{given} is for images, not for --camera" if given else None


def _predict(arguments: argparse.Namespace) -> int:
    camera = None if arguments.camera is None else find_camera(arguments.camera)
    images = find_images(arguments.image, lambda note: complain(NAME, f"note: {note}"))
    with Classifier.open(
        arguments.model,
        engine=arguments.engine,
        delegate=arguments.delegate or AUTO,
        strict=arguments.strict,
        threads=arguments.threads,
        sha256=arguments.sha256,
        **foreign_options(arguments),
    ) as classifier:
        warn_about(NAME, classifier.receipt)
        selection = TopK(classifier.labels, arguments.top_k, arguments.threshold, None, None, classifier.head)
        if camera is not None:
            from edge_runtime.camera.watch import watch  # nothing else needs it

            watch(NAME, classifier, camera, selection, arguments)
            return 0
        failed = _classify_all(classifier, images, selection, arguments)
    if failed:
        complain(NAME, f"error: {failed} of {len(images)} images could not be classified")
    return ERROR if failed else 0


def _classify_all(classifier: Classifier, images: list[str], selection: TopK, arguments: argparse.Namespace) -> int:
    """Show the answers for all images, and return how many are errors."""
    show = _choose_writer(classifier, selection, arguments, len(images))
    recorder = Recorder(arguments.record, classifier) if arguments.record else None
    failed = 0
    for answer in _with_progress_line(_answers(classifier, images, selection, recorder), len(images)):
        failed += answer.error is not None
        show(answer)
        note = None if answer.error or answer.image == STDIN else looks_black(answer.image)
        if note is not None:
            complain(NAME, f"note: {note}")
    if recorder is not None:
        recorder.write()
    if arguments.csv:
        complain(NAME, receipt_line(classifier.receipt))
    elif not arguments.json:
        print(receipt_line(classifier.receipt))
    return failed


def _answers(classifier: Classifier, images: list[str], selection: TopK, recorder: Recorder | None) -> Iterator[Answer]:
    """Yield the answers; those of a delegate once it has proved itself after them. If it does not, the CPU answers.

    Raises:
        DelegateError: the delegate fails, and the CPU must not take over.
    """
    held: list[Answer] = []
    for number, image in enumerate(images, 1):
        before = classifier.receipt.fallback
        if image == STDIN:  # it cannot be read again
            classifier.check_with_next()
        held.append(_classify(classifier, image, selection, recorder))
        if number == len(images):
            classifier.check_delegate()
        if classifier.receipt.fallback != before:
            complain(NAME, f"warning: {classifier.receipt.fallback}; the CPU is used instead")
            again = [answer.image for answer in held[: -1 if image == STDIN else None]]
            if recorder is not None:
                recorder.cut(len(recorder) - sum(answer.error is None for answer in held))
            held[: len(again)] = [_classify(classifier, each, selection, recorder) for each in again]
        if not classifier.unchecked:
            yield from held
            held = []


def _classify(classifier: Classifier, image: str, selection: TopK, recorder: Recorder | None) -> Answer:
    def judged(probabilities: Probabilities) -> Probabilities:
        if recorder is not None:
            recorder.add(image, probabilities)
        return probabilities

    return answer_image(classifier, image, lambda: _source(image), selection, judged)


def _source(image: str) -> str | BinaryIO:
    if image == STDIN:
        if sys.stdin is None:
            raise ImageError("standard input is closed: pass a file")
        return sys.stdin.buffer
    if os.path.isdir(image):
        raise ImageError(f"folder {image} has no readable images: their names end in {', '.join(SUFFIXES)}")
    return image


def _choose_writer(
    classifier: Classifier, selection: TopK, arguments: argparse.Namespace, count: int
) -> Callable[[Answer], None]:
    """Return what prints an answer: as JSON or CSV, as a table, or, for several images without --top-k, as one line."""
    if arguments.json:
        return lambda answer: print(json.dumps(to_json(answer, known_of(classifier))), flush=True)
    if arguments.csv:
        return AnswerTable(sys.stdout).write
    text = AnswerText(classifier.labels, classifier.head, selection.threshold)
    as_table = count == 1 or arguments.top_k

    def show(answer: Answer) -> None:
        if answer.error is not None:
            complain(NAME, str(answer.error), answer.error if arguments.debug else None)
        else:
            line = text.table(answer) if as_table else f"{text.line(answer)}  {printable(answer.image)}"
            print(line, flush=True)

    return show


def _with_progress_line(answers: Iterable[Answer], total: int) -> Iterator[Answer]:
    """Yield the answers; if there are many, show "120/1000 images, 57.3/s" on a terminal while the next is computed."""
    if total < LONG_LIST or not sys.stderr.isatty():
        yield from answers
        return
    start = time.monotonic()
    for done, answer in enumerate(answers, 1):
        print(ERASE_LINE, end="", file=sys.stderr, flush=True)
        yield answer
        rate = done / max(time.monotonic() - start, 1e-9)
        print(f"{done}/{total} images, {rate:.1f}/s", end="", file=sys.stderr, flush=True)
    print(ERASE_LINE, end="", file=sys.stderr, flush=True)


def fraction(text: str) -> float:
    """Parse an argparse value: a number in 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability in 0..1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        allow_abbrev=False,
        usage="%(prog)s [OPTIONS] MODEL IMAGE ...",
        description="Classify images with a model made by irv2-convert.",
    )
    add_model(parser)
    parser.add_argument(
        "image",
        metavar="IMAGE",
        nargs="*",
        help="an image, a folder (searched recursively), a quoted pattern such as '*.jpg', or - for stdin",
    )
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="K",
        help=f"how many classes to show for each image; default: {TOP_K}, or 1 for several images without --json or "
        "--csv; all of independent labels",
    )
    parser.add_argument(
        "--threshold",
        "--min-probability",
        type=fraction,
        metavar="P",
        help=f"show only classes of at least this probability, in 0..1; default: {THRESHOLD} for independent labels",
    )
    add_engine_options(parser)
    add_foreign_options(parser)
    add_camera_options(parser)
    parser.add_argument("--strict", action="store_true", help="fail if the delegate cannot be used")
    parser.add_argument("--threads", type=positive, metavar="N", help="interpreter threads; default: one per core")
    parser.add_argument(
        "--record", metavar="FILE", help="also write all probabilities as JSON, for irv2-drift --recorded on a host"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object per line")
    form.add_argument("--csv", action="store_true", help="print CSV, a row for each class of an image")
    add_general_options(parser)
    return parser
