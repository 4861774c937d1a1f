"""Choose how images are prepared for a network where neither its file nor the user says it: by what labelled ones show.

The conventions are tried on a few images; those that are far less likely than the best are out, the others are tried on
more. What is chosen is the one with the highest likelihood of the images' classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convert.images.dataset import ImageSet
from convert.images.elimination import FEWEST, SIGNIFICANT, p_value
from convert.images.label_order import Labelled
from convert.images.preprocessing_check import conventions_of, folders_fit
from convert.images.trial_runs import TrialRuns, scores_of
from edge_runtime import InputSpec
from edge_runtime.specs import SOFTMAX

BEHIND = {3: 2.0, 8: 1.0, 20: 0.5, 40: 0.3, 80: 0.2, 160: 0.1}
"""Images -> by how much less than the best a convention's mean log-likelihood of them may be, in nats, to stay in."""
MOST = max(BEHIND)
TRIED_FIRST = "tf"
"""The convention to lower a network with of which nobody says how its images were prepared: that of most in Keras."""


@dataclass(frozen=True)
class ChosenPreprocessing:
    """A convention, and on how many of so many labelled images the network is right with it, of 1.

    `others`: conventions that were not told apart from it for sure, or else the last to go, and how often the network
    is right with them.
    """

    name: str
    images: int
    accuracy: float
    others: dict[str, float]

    @property
    def words(self) -> str:
        """Say what was chosen and why, and how to say it oneself."""
        others = "".join(f", {accuracy:.0%} with {name}" for name, accuracy in self.others.items())
        return (
            f"--preprocessing was not given: {self.name} was chosen, with which the float network is right on "
            f"{self.accuracy:.0%} of {self.images} labelled images{others}; pass it, or write it into irv2.toml"
        )


def choose_preprocessing(
    float_model: bytes, spec: InputSpec, tried: InputSpec, labels: Sequence[str], images: ImageSet, head: str
) -> ChosenPreprocessing | None:
    """Return the convention with which a network is most likely right; None if the images do not tell.

    They tell if they are labelled, by folders that are labels or by a file, and if the network does not guess.

    Args:
        float_model: of batch 1, the same whatever the preprocessing is.
        spec: how its images are prepared as it was lowered, with the convention `tried`.
        tried: that convention, before what the network's own front makes of it.
        labels, head: of the network.
        images: the first of them are run.
    """
    if head != SOFTMAX or not images.are_labelled or not folders_fit(images, labels):
        return None
    runs = TrialRuns(scores_of(float_model), spec, tuple(labels), head, images[:MOST])
    return most_likely(runs, conventions_of(spec, tried))


def most_likely(runs: TrialRuns, ways: Mapping[str, InputSpec]) -> ChosenPreprocessing | None:
    """Return the way to prepare images with which a network is most likely right; None if they do not tell."""
    count, left, gone = 0, list(ways), list[str]()
    for count in (images for images in BEHIND if images <= len(runs.images) and runs.numbers(images)):
        tried, left = left, _still_in(runs, {name: ways[name] for name in left}, count)
        gone = [name for name in tried if name not in left] or gone
        if len(left) == 1 and count >= FEWEST:
            break
    labelled = runs.labelled(count) if count else None
    if count < FEWEST or not isinstance(labelled, Labelled) or not labelled.says_something:
        return None
    accuracy = {name: float(runs.right(ways[name], count).mean()) for name in [*left, *gone[:1]]}
    best, *others = sorted(left, key=lambda name: -accuracy[name])  # the likelier first where they are equal
    if labelled.is_chance(accuracy[best]):
        return None
    shown = {name: accuracy[name] for name in others or gone[:1]}
    return ChosenPreprocessing(best, len(runs.numbers(count)), accuracy[best], shown)


def _still_in(runs: TrialRuns, ways: dict[str, InputSpec], count: int) -> list[str]:
    """Return the names of the ways that may be the best after so many images, the most likely first."""
    likelihoods = {name: runs.log_likelihoods(spec, count) for name, spec in ways.items()}
    right = {name: int(runs.right(spec, count).sum()) for name, spec in ways.items()}
    by_mean = sorted(ways, key=lambda name: -float(likelihoods[name].mean()))
    best = by_mean[0]

    def is_out(name: str) -> bool:
        behind = likelihoods[best] - likelihoods[name]
        if right[name] > right[best]:  # stronger contrast alone may make a network surer with `best`
            return False
        return float(behind.mean()) > BEHIND[count] or (count >= FEWEST and p_value(behind) < SIGNIFICANT)

    return [best, *(name for name in by_mean[1:] if not is_out(name))]
