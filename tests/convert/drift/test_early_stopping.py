"""Two networks side by side: which images count, when a run ends, and that its end is no coin toss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.drift import drift
from convert.drift.drift import ANYTIME, FAIL, INCONCLUSIVE, PASS, Limits
from convert.drift.early_stopping import EarlyStopping, never, predict_both
from convert.errors import ImageSetError
from convert.images.dataset import ImageSet
from convert.statistics.verdict import INTERVALS, DiscordantPairs, PairedCounts, is_certain, judge_counts
from convert.system.progress import Silent
from edge_runtime import ArtifactError, InputSpec
from tests.convert.listeners import Listener
from tests.edge_runtime.tiny_model import SPEC

Array = npt.NDArray[Any]
LABELS = ("a", "b", "c")
ALL_LABELS = tuple("abcdefg")


@dataclass
class Fake:
    """Answers what it is told to, and cannot read some images."""

    classes: Sequence[int]
    unreadable: Sequence[int] = ()
    labels: tuple[str, ...] = LABELS
    spec: InputSpec = SPEC
    step: float = 0.0
    model_sha256: str = "0" * 64
    keras_sqnr_db: float | None = None
    asked: int = 0

    def rows(self, images: ImageSet) -> Iterator[tuple[int, Array]]:
        for index, answer in enumerate(self.classes):
            self.asked += 1
            if index not in self.unreadable:
                yield index, np.where(np.arange(len(self.labels)) == answer, 0.8, 0.1).astype(np.float32)


def image_set(count: int, classes: Sequence[int] | None = None) -> ImageSet:
    folders = None if classes is None else tuple(ALL_LABELS[c] for c in classes)
    return ImageSet(Path("x"), tuple(Path(f"x/{i}.png") for i in range(count)), folders)


def test_only_images_that_both_can_read_count() -> None:
    reference, candidate = Fake([0, 1, 2, 0, 1], unreadable=[1]), Fake([0, 1, 2, 0, 1], unreadable=[2, 4])
    listener = Listener()
    wanted, found = predict_both(reference, candidate, image_set(5), never, listener)
    assert wanted.paths == found.paths == (Path("x/0.png"), Path("x/3.png"))
    assert wanted.probabilities.argmax(axis=1).tolist() == [0, 0]
    assert listener.counts == [(1, 5), (2, 5)]
    assert reference.asked == candidate.asked == 5, "both are read to their ends, where they complain"


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(ImageSetError, match="no image in x"):
        predict_both(Fake([0, 0], [0]), Fake([0, 0], [1]), image_set(2), never, Silent())


def test_a_run_ends_at_the_first_image_at_which_the_verdict_is_certain() -> None:
    classes = [0] * 400
    reference, candidate = Fake(classes), Fake([0, 1] * 200)
    limits = Limits()
    watch = EarlyStopping.of(reference, candidate, image_set(400), limits)
    wanted, found = predict_both(reference, candidate, image_set(400), watch, Silent())
    n = len(found.paths)
    assert n < 30
    for count, verdict in ((n, FAIL), (n - 1, INCONCLUSIVE)):
        compared = drift.compare(wanted.first(count), found.first(count), None, ANYTIME)
        assert drift.judge(compared, limits).verdict == verdict
    assert candidate.asked == n, "nothing is computed for nothing"


@pytest.mark.parametrize("labels", ["cab", "gfedcba"])
def test_the_watch_counts_what_the_comparison_counts(labels: str) -> None:
    """With the candidate's classes in another order, and labels; top-5 counts among more than five classes."""
    random = np.random.default_rng(2)
    truth, p, q = (random.integers(0, len(labels), 50).tolist() for _ in range(3))
    reference, candidate = Fake(p, labels=tuple(sorted(labels))), Fake(q, labels=tuple(labels))
    images = image_set(50, truth)
    watch = EarlyStopping.of(reference, candidate, images, Limits(max_drop_pp=100, min_agreement=0.0))
    watch.limits = Limits(max_drop_pp=0, min_agreement=0.3)
    wanted, found = predict_both(reference, candidate, images, watch, Silent())
    assert watch.tally == drift.compare(wanted, found, truth[: len(found.paths)]).tally
    assert (watch.tally.top5 is not None) == (len(labels) > 5)


def test_other_classes_are_refused_before_the_first_image() -> None:
    with pytest.raises(ArtifactError, match="same classes"):
        EarlyStopping.of(Fake([0]), Fake([0], labels=("a", "b", "z")), image_set(1), Limits())


@settings(max_examples=30)
@given(st.integers(1, 600), st.floats(0, 0.2), st.floats(0, 0.1), st.floats(0, 0.05))
def test_certain_is_what_the_intervals_say(images: int, changed: float, lost: float, gained: float) -> None:
    for tally in (
        PairedCounts(images, images - round(changed * images)),
        PairedCounts(
            images,
            images - round(changed * images),
            DiscordantPairs(round(lost * images), round(gained * images)),
            DiscordantPairs(round(gained * images), 0),
        ),
    ):
        verdict = judge_counts(tally, Limits(), INTERVALS[ANYTIME]).verdict
        assert is_certain(tally, Limits()) == (verdict != INCONCLUSIVE)


@pytest.mark.parametrize("limits", [Limits(100, 1.0), Limits(-100, 0.0), Limits(100, 0.0)])
def test_limits_at_their_ends(limits: Limits) -> None:
    """To agree always, to gain everything, and to do anything at all."""
    equal = PairedCounts(50, 50, DiscordantPairs(0, 0))
    wanted = {(100, 1.0): INCONCLUSIVE, (-100, 0.0): FAIL, (100, 0.0): PASS}
    verdict = judge_counts(equal, limits, INTERVALS[ANYTIME]).verdict
    assert verdict == wanted[limits.max_drop_pp, limits.min_agreement]
    assert is_certain(equal, limits) == (verdict != INCONCLUSIVE)


def verdicts(lost: float, gained: float, limits: Limits, images: int, runs: int = 200) -> list[str]:
    """Of runs that may stop at any image; lost and gained answers are also changed ones, and there are no others."""
    random, found = np.random.default_rng(11), []
    for _ in range(runs):
        drawn = random.choice(3, size=images, p=[lost, gained, 1 - lost - gained])
        counts = np.cumsum(drawn[:, np.newaxis] == np.arange(3), axis=0).tolist()
        for n, (b, c, agreed) in enumerate(counts, 1):
            tally = PairedCounts(n, agreed, DiscordantPairs(b, c))
            if is_certain(tally, limits):
                break
        found.append(judge_counts(tally, limits, INTERVALS[ANYTIME]).verdict)
    return found


def test_no_false_alarm_where_nothing_changed_but_noise() -> None:
    """1 of 100 answers changes, as many for the better as for the worse; 200 runs, 5 % of which may fail."""
    alarms = verdicts(0.005, 0.005, Limits(), 150).count(FAIL)
    assert alarms <= 0.05 * 200


def test_a_drop_on_the_limit_seldom_passes() -> None:
    """Runs that stop as the command's do: 20 points lost and 15 gained where 5 may be lost."""
    found = verdicts(0.2, 0.15, Limits(max_drop_pp=5, min_agreement=0.3), 100)
    assert found.count(PASS) <= 0.025 * 200
