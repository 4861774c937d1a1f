"""When a comparison may stop, and that its end is no coin toss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.drift.comparison import Comparison
from convert.drift.figures import judge, measure
from convert.drift.predictions import predict_both
from convert.drift.run import EarlyStopping
from convert.statistics.verdict import (
    ANYTIME,
    FAIL,
    INCONCLUSIVE,
    INTERVALS,
    PASS,
    DiscordantPairs,
    Limits,
    PairedCounts,
    is_certain,
    judge_counts,
)
from convert.system.progress import Silent
from edge_runtime import ArtifactError
from tests.convert.drift.predictors import FakePredictor, image_set


def test_a_run_ends_at_the_first_image_at_which_the_verdict_is_certain() -> None:
    classes = [0] * 400
    reference, candidate = FakePredictor(classes), FakePredictor([0, 1] * 200)
    limits = Limits()
    enough = EarlyStopping(reference, candidate, image_set(400), limits)
    expected, found = predict_both(reference, candidate, image_set(400), Silent(), "", enough)
    n = len(found.paths)
    assert n < 30
    for count, verdict in ((n, FAIL), (n - 1, INCONCLUSIVE)):
        drift = measure(Comparison(expected.first(count), found.first(count), None), ANYTIME)
        assert judge(drift, limits).verdict == verdict
    assert candidate.asked == n, "nothing is computed for nothing"


@pytest.mark.parametrize("labels", ["cab", "gfedcba"])
def test_the_test_counts_what_the_comparison_counts(labels: str) -> None:
    """With the candidate's classes in another order, and labels; top-5 counts among more than five classes."""
    random = np.random.default_rng(2)
    truth, p, q = (random.integers(0, len(labels), 50).tolist() for _ in range(3))
    reference, candidate = FakePredictor(p, labels=tuple(sorted(labels))), FakePredictor(q, labels=tuple(labels))
    images = image_set(50, truth)
    enough = EarlyStopping(reference, candidate, images, Limits(max_drop_pp=0, min_agreement=0.3))
    expected, found = predict_both(reference, candidate, images, Silent(), "", enough)
    assert enough.counts == measure(Comparison(expected, found, truth[: len(found.paths)])).counts
    assert (enough.counts.top5 is not None) == (len(labels) > 5)


def test_other_classes_are_refused_before_the_first_image() -> None:
    with pytest.raises(ArtifactError, match="same classes"):
        EarlyStopping(FakePredictor([0]), FakePredictor([0], labels=("a", "b", "z")), image_set(1), Limits())


@settings(max_examples=30)
@given(st.integers(1, 600), st.floats(0, 0.2), st.floats(0, 0.1), st.floats(0, 0.05))
def test_certain_is_what_the_intervals_say(images: int, changed: float, lost: float, gained: float) -> None:
    for counts in (
        PairedCounts(images, images - round(changed * images)),
        PairedCounts(
            images,
            images - round(changed * images),
            DiscordantPairs(round(lost * images), round(gained * images)),
            DiscordantPairs(round(gained * images), 0),
        ),
    ):
        verdict = judge_counts(counts, Limits(), INTERVALS[ANYTIME]).verdict
        assert is_certain(counts, Limits()) == (verdict != INCONCLUSIVE)


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
        totals = np.cumsum(drawn[:, np.newaxis] == np.arange(3), axis=0).tolist()
        for n, (b, c, agreed) in enumerate(totals, 1):
            counts = PairedCounts(n, agreed, DiscordantPairs(b, c))
            if is_certain(counts, limits):
                break
        found.append(judge_counts(counts, limits, INTERVALS[ANYTIME]).verdict)
    return found


def test_no_false_alarm_where_nothing_changed_but_noise() -> None:
    """1 of 100 answers changes, as many for the better as for the worse; 200 runs, 5 % of which may fail."""
    alarms = verdicts(0.005, 0.005, Limits(), 150).count(FAIL)
    assert alarms <= 0.05 * 200


def test_a_drop_on_the_limit_seldom_passes() -> None:
    """Runs that stop as the command's do: 20 points lost and 15 gained where 5 may be lost."""
    found = verdicts(0.2, 0.15, Limits(max_drop_pp=5, min_agreement=0.3), 100)
    assert found.count(PASS) <= 0.025 * 200
