"""Check that a float network gets its images the way it was trained on them, and that its labels are in its order.

Neither mistake raises an error: the network answers, and is wrong. Where images are labelled, its accuracy tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, PIXELS, fitted, input_spec
from convert.images.dataset import ImageSet, matches
from convert.images.feeding import Scaling
from convert.images.label_order import Labelled, LabelledSets, is_far_better
from convert.images.reader import PixelReader, refuse_unreadable
from convert.statistics.metrics import mcnemar_p_value
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.engines import Engine
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import SOFTMAX, THRESHOLD

IMAGES = 40
"""More would find smaller differences; as many are decoded again for each of `FITS`, and run for each trial."""
FIRST = 20
"""The images that are looked at before the others are: if nearly all of them are right, that will do."""
NEARLY_ALL = 0.9
FITS = ("stretch", "crop", "torchvision", "pad")
"""Other ways to fit pictures to the tensor that are tried, one at a time."""
SIGNIFICANT = 0.05
GOOD_ENOUGH = 0.8
"""Accuracy with the given preprocessing and labels from which on nothing else is tried, unless it is chance."""


Scores = Callable[[InputSpec, Sequence[Pixels]], Array]
"""What a network answers, (images, classes), for pixels that are scaled as a specification says."""


def refuse_wrong_preprocessing(
    float_model: bytes,
    spec: InputSpec,
    labels: Sequence[str],
    images: ImageSet | None,
    head: str = SOFTMAX,
    said: InputSpec | None = None,
) -> str | None:
    """Raise `SourceError` if another preprocessing or order of labels makes a network far more accurate.

    The float `.tflite` of batch 1 runs over the first `IMAGES` images, labelled by a file or by their folders, which
    are compared with the labels as `ImageSet.class_indices` does. Nothing is checked without either, or if a folder is
    no label. `head` is one of `edge_runtime.specs.HEADS`. `said` is what the user said, if that differs from `spec`,
    which tells what the network's file makes of such images.

    Returns:
        What to tell if another preprocessing is better for sure though not by far, or if the network guesses and
        nothing helps; else None.
    """

    @cache
    def engine() -> Engine:
        return open_engine(float_model)

    def scores(tried: InputSpec, pixels: Sequence[Pixels]) -> Array:
        return np.stack(list(run_over(engine(), (normalize(each, tried) for each in pixels))))

    reading = other_reading(scores, spec, labels, images, head, said)
    if reading is None:
        return None
    if reading.is_far_better:
        raise SourceError(reading.words("the float network"))
    if reading.is_better:
        return reading.words("the float network")
    if not reading.is_chance:
        return None
    chance = reading.labelled.at_chance(reading.given)
    return f"the float network is {chance}: check --preprocessing and the order of --labels"


@dataclass(frozen=True)
class Reading:
    """A network that is not often right, `given` of 1, and the best of other ways to read it.

    `is_better`: for sure, not by the luck of the best of many.
    """

    labelled: Labelled | LabelledSets
    images: int
    given: float
    accuracy: float
    options: tuple[str, ...]
    is_better: bool

    @property
    def is_far_better(self) -> bool:
        """Return whether so much more is right, and for sure, that the network must be meant to be read so."""
        return self.is_better and is_far_better(self.accuracy, self.given)

    @property
    def is_chance(self) -> bool:
        """Return whether the network guesses, as it is read now."""
        return self.labelled.is_chance(self.given)

    @property
    def is_order_alone(self) -> bool:
        """Return whether the labels alone would be read in another way."""
        return all(option.startswith("--labels") for option in self.options)

    def words(self, network: str) -> str:
        """Say how much better the other way is, and which option to look at."""
        return (
            f"{network} is right on {self.given:.0%} of {self.images} labelled images as they are prepared and named "
            f"now, and on {self.accuracy:.0%} with {' and '.join(self.options)}: {_check(self.options)}"
        )


def other_reading(
    scores: Scores,
    spec: InputSpec,
    labels: Sequence[str],
    images: ImageSet | None,
    head: str = SOFTMAX,
    said: InputSpec | None = None,
) -> Reading | None:
    """Return the best other way to read a network; None if it is often right, or nothing tells how often.

    For the arguments see `refuse_wrong_preprocessing`.
    """
    if images is None or not images.are_labelled or not _fit(images, labels):
        return None
    few, reader = images[:IMAGES], PixelReader(spec)
    read = list(reader.read(few))
    refuse_unreadable(reader.skipped, few)
    if not read:
        return None
    numbers = [i for i, _ in read]
    labelled, first = (_labelled(few, part, tuple(labels), head) for part in (numbers, numbers[:FIRST]))
    if not labelled.says_something:
        return None
    network = _Network(scores, spec, head, few, [pixels for _, pixels in read])
    answers = network.given(slice(FIRST))
    if len(read) > FIRST:
        share = float(first.right(answers).mean())
        if first.says_something and share >= NEARLY_ALL and not first.is_chance(share):
            return None
        answers = np.concatenate([answers, network.given(slice(FIRST, None))])
    right = labelled.right(answers)
    given = float(right.mean())
    if given >= GOOD_ENOUGH and not labelled.is_chance(given):
        return None
    trials = list(_tried(network, said or spec, labelled))
    best = max(trials, key=lambda trial: trial.accuracy)
    is_better = best.is_better(right, len(trials))
    return Reading(labelled, len(read), given, best.accuracy, best.options, is_better)


def _fit(images: ImageSet, labels: Sequence[str]) -> bool:
    """Return whether every class folder is one of the labels, where folders are what counts."""
    if images.image_labels is not None:
        return True
    return all(len(found) == 1 for found in matches(set(images.folders or ()), labels).values())


def _labelled(images: ImageSet, read: Sequence[int], labels: tuple[str, ...], head: str) -> Labelled | LabelledSets:
    """Return what the images of these numbers show."""
    truth = images.truth(labels, head)
    assert truth is not None
    if head == SOFTMAX:
        return Labelled(tuple(int(truth[i]) for i in read), images.folders or (), labels)
    return LabelledSets(np.array([truth[i] for i in read]))


@dataclass(frozen=True)
class _Trial:
    """Another way to read a network: the options or words that name it, and on which images it is right, bool (N,)."""

    options: tuple[str, ...]
    right: Array

    @property
    def accuracy(self) -> float:
        """Return how often it is right."""
        return float(self.right.mean())

    def is_better(self, given: Array, trials: int) -> bool:
        """Return whether it is right more often than the given way is, beyond the luck of the best of many trials."""
        gained, lost = int(np.sum(self.right & ~given)), int(np.sum(given & ~self.right))
        return gained > lost and mcnemar_p_value(lost, gained) * trials < SIGNIFICANT


class _Network:
    """A float network and the images to try it on; `answers` are remembered by nobody, since each is asked once."""

    def __init__(self, scores: Scores, spec: InputSpec, head: str, images: ImageSet, pixels: Sequence[Pixels]) -> None:
        self.spec, self._head, self._scores = spec, head, scores
        self._images, self._pixels = images, pixels

    def given(self, part: slice) -> Array:
        """Return what it answers for a part of the images as they are prepared now."""
        return self._answers(self.spec, self._pixels[part])

    def fitted(self, fit: str) -> Array | None:
        """Return what it answers for the images read again, as `--fit` says; None if that is how they are read."""
        other = fitted(self.spec, fit)
        if other.geometry == self.spec.geometry:
            return None
        pixels = [each for _, each in PixelReader(other).read(self._images)]
        return self._answers(other, pixels) if len(pixels) == len(self._pixels) else None

    def answers(self, tried: InputSpec) -> Array:
        """Return what the network answers for each image prepared in another way: its class, or its set of labels."""
        step = 1 if tried.channel_order == self.spec.channel_order else -1
        return self._answers(tried, [pixels[..., ::step] for pixels in self._pixels])

    def _answers(self, spec: InputSpec, pixels: Sequence[Pixels]) -> Array:
        outputs = self._scores(spec, pixels)
        return np.asarray(outputs.argmax(axis=1) if self._head == SOFTMAX else outputs >= THRESHOLD)


def _tried(network: _Network, given: InputSpec, labelled: Labelled | LabelledSets) -> Iterator[_Trial]:
    """Yield other ways to read a network, those with one difference first."""
    both = []
    for name, spec in [("", network.spec), *_alternatives(network.spec, given)]:
        answers = network.answers(spec)
        if name:
            yield _Trial((name,), labelled.right(answers))
        better = labelled.best_order(answers)
        if better is not None:
            order = better[1]
            trial = _Trial((*([name] if name else []), order.option), labelled.right_in(order, answers))
            if name:
                both.append(trial)
            else:
                yield trial
    for fit in FITS:
        refitted = network.fitted(fit)
        if refitted is not None:
            yield _Trial((f"--fit {fit}",), labelled.right(refitted))
    yield from both


def _alternatives(spec: InputSpec, given: InputSpec) -> Iterator[tuple[str, InputSpec]]:
    """Yield other preprocessings in place of `given`, each with the option or words that name it.

    There are none for a network that scales pixels itself: it refuses an option that says something else.
    """
    front = Scaling.between(given, spec)
    if not front.is_silent and front.takes == PIXELS:
        return
    for name, convention in CONVENTIONS.items():
        if spec.channels == 3 or convention.serves_grey:
            other = input_spec(name, spec.height, spec.width, spec.channels)
            said = replace(spec, mean=other.mean, std=other.std, channel_order=other.channel_order)
            yield f"--preprocessing {name}", front.behind(said)
    if spec.channels == 1:
        return
    turned = "BGR" if spec.channel_order == "RGB" else "RGB"
    yield f"channels in the order {turned}", replace(spec, channel_order=turned)


def _check(options: Sequence[str]) -> str:
    """Return what to do about the options that would help."""
    wrong = [
        name for name in ("--preprocessing", "--fit", "--labels") if any(option.startswith(name) for option in options)
    ]
    return f"check {' and '.join(wrong or ['--preprocessing'])}"
