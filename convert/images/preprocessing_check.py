"""Check that a float network gets its images the way it was trained on them, and that its labels are in its order.

Neither mistake raises an error: the network answers, and is wrong. Where images are labelled, its accuracy tells,
and if little of that is lost, how sure it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, PIXELS, fitted, input_spec
from convert.images.dataset import ImageSet, matches
from convert.images.elimination import LEADS, surer_way
from convert.images.feeding import Scaling
from convert.images.label_order import Labelled, LabelledSets, is_far_better
from convert.images.trial_runs import Scores, TrialRuns, scores_of
from convert.statistics.metrics import mcnemar_p_value
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.specs import SOFTMAX

IMAGES = 40
"""Images that tell accuracy; as many are decoded again for each of `FITS`, and run for each trial."""
MOST = max(LEADS)
"""Images that tell how sure a network is, at most."""
FIRST = 20
"""The images that are looked at before the others are: if nearly all of them are right, that will do."""
NEARLY_ALL = 0.9
FITS = ("stretch", "crop", "torchvision", "pad")
"""Other ways to fit pictures to the tensor that are tried, one at a time."""
SIGNIFICANT = 0.05
GOOD_ENOUGH = 0.8
"""Accuracy with the given preprocessing and labels from which on labels are not in question, unless it is chance."""


def refuse_wrong_preprocessing(
    float_model: bytes,
    spec: InputSpec,
    labels: Sequence[str],
    images: ImageSet | None,
    head: str = SOFTMAX,
    said: InputSpec | None = None,
) -> str | None:
    """Raise `SourceError` if another preprocessing or order of labels makes a network far more accurate.

    The float `.tflite` of batch 1 runs over the first `MOST` images if need be. A file labels them, or their folders,
    which are compared with the labels as `ImageSet.class_indices` does. Nothing is checked without either, or if a
    folder is no label. `head` is one of `edge_runtime.specs.HEADS`. `said` is what the user said, if that differs from
    `spec`, which tells what the network's file makes of such images.

    Returns:
        What to tell if another preprocessing is better for sure though not by far, or if the network guesses and
        nothing helps; else None.
    """

    reading = other_reading(scores_of(float_model), spec, labels, images, head, said)
    if reading is None:
        return None
    if reading.is_far_better:
        raise SourceError(reading.words("the float network"))
    if reading.is_worth_a_note:
        return reading.words("the float network")
    if not reading.is_chance:
        return None
    chance = reading.labelled.at_chance(reading.given)
    return f"the float network is {chance}: check --preprocessing and the order of --labels"


@dataclass(frozen=True)
class Reading:
    """A network that is not often right, `given` of 1, and the best of other ways to read it.

    Attributes:
        is_better: right on more images for sure, not by the luck of the best of many.
        probabilities: those of the images' classes, geometric means, as given and read in the other way; None unless it
            is these that tell, for sure, that the other way is better.
    """

    labelled: Labelled | LabelledSets
    images: int
    given: float
    accuracy: float
    options: tuple[str, ...]
    is_better: bool
    probabilities: tuple[float, float] | None = None

    @property
    def is_far_better(self) -> bool:
        """Return whether so much more is right, and for sure, that the network must be meant to be read so."""
        return self.is_better and is_far_better(self.accuracy, self.given)

    @property
    def is_worth_a_note(self) -> bool:
        """Return whether the other way is better for sure, by far or not."""
        return self.is_better or self.probabilities is not None

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
        sure = ""
        if self.probabilities is not None:
            given, other = self.probabilities
            sure = f" (and surer: it gives their classes a probability of {other:.2f} in place of {given:.2f})"
        return (
            f"{network} is right on {self.given:.0%} of {self.images} labelled images as they are prepared and named "
            f"now, and on {self.accuracy:.0%} with {' and '.join(self.options)}{sure}: {_check(self.options)}"
        )


def other_reading(
    scores: Scores,
    spec: InputSpec,
    labels: Sequence[str],
    images: ImageSet | None,
    head: str = SOFTMAX,
    said: InputSpec | None = None,
) -> Reading | None:
    """Return the best other way to read a network; None if nothing tells, or if it is right and sure enough as it is.

    For the arguments see `refuse_wrong_preprocessing`.
    """
    if images is None or not images.are_labelled or not folders_fit(images, labels):
        return None
    runs = TrialRuns(scores, spec, tuple(labels), head, images[:MOST])
    if not runs.numbers(IMAGES) or not runs.labelled(IMAGES).says_something:
        return None
    ways = dict(_alternatives(spec, said or spec))
    if _is_nearly_always_right(runs):
        return _surer(runs, ways)
    ways |= _fits(runs)
    labelled, right = runs.labelled(IMAGES), runs.right(spec, IMAGES)
    given = float(right.mean())
    if given >= GOOD_ENOUGH and not labelled.is_chance(given):
        return _surer(runs, ways)
    trials = list(_tried(runs, ways))
    best, is_better = _simplest(trials, right)
    found = Reading(labelled, len(right), given, best.accuracy, best.options, is_better)
    return found if is_better or found.is_chance else _surer(runs, ways) or found


def _is_nearly_always_right(runs: TrialRuns) -> bool:
    """Return whether the first images are enough to see that labels and geometry are right."""
    first, share = runs.labelled(FIRST), float(runs.right(runs.spec, FIRST).mean())
    return len(runs.numbers(FIRST)) < len(runs.numbers(IMAGES)) and (
        first.says_something and share >= NEARLY_ALL and not first.is_chance(share)
    )


def _simplest(trials: Sequence[_Trial], given: Array) -> tuple[_Trial, bool]:
    """Return the trial with the fewest options of those that may be the best, and whether it is better than `given`.

    `given` says on which images the network is right as it is read now, bool (N,).
    """
    best = max(trials, key=lambda trial: trial.accuracy)
    is_better = best.is_better(given, len(trials))
    alike = [
        trial
        for trial in trials
        if not best.is_better(trial.right, 1) and trial.is_better(given, len(trials)) == is_better
    ]
    return min(alike, key=lambda trial: (len(trial.options), -trial.accuracy)), is_better


def _surer(runs: TrialRuns, ways: Mapping[str, InputSpec]) -> Reading | None:
    """Return what makes a network surer of the images' classes; None also if it is right on all of the first ones."""
    if runs.head != SOFTMAX or runs.right(runs.spec, FIRST).all():
        return None
    found = surer_way(runs, ways)
    if found is None:
        return None
    name, count = found
    given, other = (float(runs.right(spec, count).mean()) for spec in (runs.spec, ways[name]))
    now, then = (float(np.exp(runs.log_likelihoods(spec, count).mean())) for spec in (runs.spec, ways[name]))
    seen = len(runs.numbers(count))
    return Reading(runs.labelled(count), seen, given, other, (name,), is_better=False, probabilities=(now, then))


def folders_fit(images: ImageSet, labels: Sequence[str]) -> bool:
    """Return whether every class folder is one of the labels, where folders are what counts."""
    if images.image_labels is not None:
        return True
    return all(len(found) == 1 for found in matches(set(images.folders or ()), labels).values())


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


def _tried(runs: TrialRuns, ways: Mapping[str, InputSpec]) -> Iterator[_Trial]:
    """Yield other ways to read a network, those with one difference first."""
    labelled, both = runs.labelled(IMAGES), []
    for name, spec in {"": runs.spec, **ways}.items():
        if not runs.can_read(spec, IMAGES):
            continue
        answers = runs.answers(spec, IMAGES)
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
    yield from both


def _fits(runs: TrialRuns) -> dict[str, InputSpec]:
    """Return other ways to fit pictures to the tensor by the options that name them."""
    others = {f"--fit {fit}": fitted(runs.spec, fit) for fit in FITS}
    return {name: spec for name, spec in others.items() if spec.geometry != runs.spec.geometry}


def _alternatives(spec: InputSpec, given: InputSpec) -> Iterator[tuple[str, InputSpec]]:
    """Yield other preprocessings in place of `given`, each with the option or words that name it.

    There are none for a network that scales pixels itself: it refuses an option that says something else.
    """
    front = Scaling.between(given, spec)
    if not front.is_silent and front.takes == PIXELS:
        return
    for name, other in conventions_of(spec, given).items():
        yield f"--preprocessing {name}", other
    if spec.channels == 1:
        return
    turned = "BGR" if spec.channel_order == "RGB" else "RGB"
    yield f"channels in the order {turned}", replace(spec, channel_order=turned)


def conventions_of(spec: InputSpec, given: InputSpec) -> dict[str, InputSpec]:
    """Return how images are prepared with each convention in place of `given`, of which a front makes `spec`."""
    front = Scaling.between(given, spec)
    ways = {}
    for name, convention in CONVENTIONS.items():
        if spec.channels == 3 or convention.serves_grey:
            other = input_spec(name, spec.height, spec.width, spec.channels)
            said = replace(spec, mean=other.mean, std=other.std, channel_order=other.channel_order)
            ways[name] = front.behind(said)
    return ways


def _check(options: Sequence[str]) -> str:
    """Return what to do about the options that would help."""
    wrong = [
        name for name in ("--preprocessing", "--fit", "--labels") if any(option.startswith(name) for option in options)
    ]
    return f"check {' and '.join(wrong or ['--preprocessing'])}"
