"""The answer for one image, and how it is written: as JSON, as a table, or in one line."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, TextIO

from edge_runtime.classifier import Classifier, Prediction, TopK
from edge_runtime.console import printable
from edge_runtime.errors import DelegateError, EdgeError
from edge_runtime.preprocess import ImageSource, load_pixels
from edge_runtime.specs import SOFTMAX
from edge_runtime.tensors import Probabilities

COLUMNS = ("image", "rank", "index", "label", "probability", "error")
"""Of CSV."""
BAR_WIDTH = 20
WIDEST_LABEL = 40


class Answer(NamedTuple):
    """The result for one image: its best classes and two times in milliseconds, or an error.

    `nearest` is the most probable class, whether or not it reaches the threshold.
    """

    image: str
    predictions: list[Prediction]
    preprocess_ms: float | None = None
    inference_ms: float | None = None
    error: EdgeError | None = None
    nearest: Prediction | None = None


def answer_image(
    classifier: Classifier,
    image: str,
    open_source: Callable[[], ImageSource],
    selection: TopK,
    judged: Callable[[Probabilities], Probabilities],
) -> Answer:
    """Classify one image and time it; an error is an answer, too, but for a delegate's, which is no image's fault.

    Args:
        classifier: what answers.
        image: the name of the image.
        open_source: returns the image.
        selection: the classes to show.
        judged: is given the probabilities, float32 (classes,), and returns those that the selection is made from.

    Raises:
        DelegateError: the delegate fails, and the CPU must not take over.
    """
    try:
        start = time.perf_counter()
        pixels = load_pixels(open_source(), classifier.spec)
        ready = time.perf_counter()
        probabilities = classifier.run(pixels)
        done = time.perf_counter()
        final = judged(probabilities)
        best, (nearest, *_) = selection.best(final), classifier.best(final, 1, 0.0)
    except DelegateError:
        raise
    except EdgeError as error:
        return Answer(image, [], error=error)
    times = (round(1000 * (ready - start), 3), round(1000 * (done - ready), 3))
    return Answer(image, best, *times, nearest=nearest)


def known_of(classifier: Classifier) -> dict[str, object]:
    """Return what the JSON of every answer of a classifier has in common."""
    return {"head": classifier.head, "receipt": asdict(classifier.receipt)}


def to_json(answer: Answer, known: dict[str, object]) -> dict[str, Any]:
    """Return an answer as the object that --json prints; `known` is what `known_of` returned."""
    return {
        "image": answer.image,
        "predictions": [asdict(prediction) for prediction in answer.predictions],
        **known,
        "timings_ms": {"preprocess": answer.preprocess_ms, "inference": answer.inference_ms},
        "error": None if answer.error is None else str(answer.error),
    }


class AnswerTable:
    """Writes answers to a file as CSV, a row for each class, after a header.

    An answer without classes, and an error, is one row with the image alone, and the error.
    """

    def __init__(self, file: TextIO) -> None:
        self._file, self._writer = file, csv.writer(file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def write(self, answer: Answer) -> None:
        """Write the rows of an answer; rank 1 is the most probable class, probabilities have all their digits."""
        rows = [(rank, *vars(each).values(), "") for rank, each in enumerate(answer.predictions, 1)]
        error = "" if answer.error is None else str(answer.error)
        self._writer.writerows((answer.image, *row) for row in rows or [("", "", "", "", error)])
        self._file.flush()


class AnswerText:
    """Writes the answers of one classifier as text.

    Args:
        labels: of the classifier, for the width of a column.
        head: of the classifier.
        threshold: the least probability that is shown, in 0..1.
    """

    def __init__(self, labels: Sequence[str], head: str, threshold: float) -> None:
        self._width = min(WIDEST_LABEL, max(len(printable(label)) for label in labels))
        self._head, self._threshold = head, threshold

    def table(self, answer: Answer) -> str:
        """Return the image's name, and a line for each class."""
        lines = [printable(answer.image)]
        if not answer.predictions:
            lines.append(f"  {self._none_reaches(answer)}")
        for prediction in answer.predictions:
            bar = _block() * round(BAR_WIDTH * prediction.probability)
            text = f"  {printable(prediction.label):<{self._width}}  {prediction.probability:6.1%}  {bar}"
            lines.append(text.rstrip())
        return "\n".join(lines)

    def line(self, answer: Answer) -> str:
        """Return the best class in columns; of independent labels, all there are."""
        if self._head != SOFTMAX or not answer.predictions:
            return self.list(answer)
        best = answer.predictions[0]
        return f"{printable(best.label):<{self._width}}  {best.probability:6.1%}"

    def list(self, answer: Answer) -> str:
        """Return all classes of the answer, separated by commas."""
        shown = ", ".join(f"{printable(each.label)} {each.probability:.1%}" for each in answer.predictions)
        return shown or self._none_reaches(answer)

    def _none_reaches(self, answer: Answer) -> str:
        nearest = answer.nearest
        assert nearest is not None
        limit = f"{100 * self._threshold:.3g}%"
        return f"no label reaches {limit}; nearest: {printable(nearest.label)} {nearest.probability:.1%}"


def _block() -> str:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#"
    return "█"
