"""Predictions in, verdict out: what is counted, and that the verdict is only certain where it can be."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.drift import figures
from convert.drift.comparison import Comparison
from convert.drift.figures import Drift, judge, measure
from convert.drift.predictions import Predictions, class_order
from convert.statistics import confidence_sequence, metrics
from convert.statistics.verdict import FAIL, FIXED, INCONCLUSIVE, PASS, Limits
from edge_runtime import ArtifactError

Array = npt.NDArray[Any]


def answers(classes: Sequence[int], labels: Sequence[str] = ("a", "b", "c"), sure: float = 0.8) -> Predictions:
    """A network that is `sure` of one class of each image."""
    probabilities = np.full((len(classes), len(labels)), (1 - sure) / (len(labels) - 1), np.float32)
    probabilities[np.arange(len(classes)), classes] = sure
    return Predictions(tuple(Path(f"{i:04}.png") for i in range(len(classes))), probabilities, tuple(labels))


def compare(
    reference: Predictions, candidate: Predictions, classes: Sequence[int] | None, interval: str = FIXED
) -> Drift:
    return measure(Comparison(reference, candidate, classes), interval)


def measured(images: int, wrong: int, gained: int = 0, labelled: bool = True) -> Drift:
    """A reference that errs on `gained` images the candidate gets right, which errs on `wrong` others."""
    truth = [0] * images
    reference = answers([1] * gained + [0] * (images - gained))
    return compare(reference, answers([0] * (images - wrong) + [1] * wrong), truth if labelled else None)


def test_equal_answers_drift_nowhere() -> None:
    found = compare(answers([0, 1, 2]), answers([0, 1, 2]), [0, 1, 1])
    assert found.top1_reference == found.top1_candidate == pytest.approx(2 / 3)
    assert (found.images, found.top1_drop_pp, found.agreement_top1, found.max_abs_error) == (3, 0, 1, 0)
    assert found.sqnr_db == float("inf")
    assert found.flips == []


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_equal_answers_are_equal_to_the_last_bit(classes: int) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(classes), 50).astype(np.float32)
    found = Predictions(tuple(Path(f"{i}.png") for i in range(50)), rows, tuple(f"{i:04}" for i in range(classes)))
    assert compare(found, found, None).to_json()["sqnr_db"] is None


def test_a_changed_answer_is_counted_everywhere() -> None:
    found = compare(answers([0, 1, 2, 0]), answers([0, 1, 1, 0]), [0, 1, 2, 1])
    assert found.top1_reference == 0.75
    assert found.top1_candidate == 0.5
    assert found.top1_drop_pp == 25
    assert found.agreement_top1 == 0.75
    assert found.agreement_top5 == 1
    assert found.max_abs_error == pytest.approx(0.7)
    assert found.agreement_ci95 == metrics.wilson_interval(3, 4)
    assert found.top1_drop_ci95_pp == pytest.approx([100 * x for x in metrics.paired_drop_interval(1, 0, 4)])
    # Two of three centred log-probabilities change places: half of the signal's square for each is noise.
    d = np.log(0.8) - np.log(0.1)
    assert found.sqnr_db == pytest.approx(10 * np.log10(4 * (2 / 3) * d**2 / (2 * d**2)), rel=1e-5)
    assert found.cosine_mean == pytest.approx((3 - 0.5) / 4, rel=1e-5)
    assert found.kl_mean == pytest.approx(0.7 * d / 4, rel=1e-5)


def test_answers_right_only_in_the_candidate_make_up_for_lost_ones() -> None:
    found = measured(images=100, wrong=3, gained=3)
    assert found.top1_drop_pp == 0
    assert found.agreement_top1 == pytest.approx(0.94)


def test_without_labels_only_agreement_is_measured() -> None:
    found = measured(100, wrong=2, labelled=False)
    assert not found.labelled
    assert found.top1_reference is found.top1_candidate is found.top1_drop_pp is found.top1_drop_ci95_pp is None
    assert found.agreement_top1 == pytest.approx(0.98)
    assert len(judge(found, Limits()).reasons) == 1
    assert found.flips[0]["label"] is None


@given(st.permutations(range(5)))
def test_classes_are_matched_by_label(order: list[int]) -> None:
    """A network whose classes come in another order is the same network."""
    random = np.random.default_rng(1)
    labels = tuple("abcde")
    probabilities = random.dirichlet(np.ones(5), 8).astype(np.float32)
    noisy = random.dirichlet(np.ones(5), 8).astype(np.float32)
    paths = tuple(Path(str(i)) for i in range(8))
    reference, candidate = Predictions(paths, probabilities, labels), Predictions(paths, noisy, labels)
    shuffled = Predictions(paths, noisy[:, order], tuple(labels[i] for i in order))
    truth = [*range(5), 0, 0, 0]
    assert compare(reference, shuffled, truth) == compare(reference, candidate, truth)


def test_other_labels_are_refused_and_named() -> None:
    with pytest.raises(ArtifactError, match=r"same classes.*\['c', 'z'\]"):
        compare(answers([0]), answers([0], labels=("a", "b", "z")), None)


def test_of_many_other_labels_six_are_named() -> None:
    with pytest.raises(ArtifactError, match=r"has \['a', 'b', 'c', 'd', 'e', 'f', \.\.\.\]: .*--labels FILE"):
        class_order(tuple("abcd"), tuple("efgh"))


def test_answers_to_other_images_are_refused() -> None:
    with pytest.raises(ArtifactError, match="different images"):
        compare(answers([0, 1]), answers([0]), None)


def test_flips_name_image_and_labels_most_confident_first() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1]], np.float32)
    reference = Predictions(tuple(map(Path, ("x.png", "y.png", "z.png"))), probabilities, ("a", "b", "c"))
    candidate = Predictions(reference.paths, probabilities[:, [1, 0, 2]], ("a", "b", "c"))
    flips = compare(reference, candidate, [0, 1, 2]).flips
    assert [flip["image"] for flip in flips] == ["y.png", "z.png", "x.png"]
    assert flips[0] == {
        "image": "y.png",
        "reference": {"label": "a", "probability": pytest.approx(0.9)},
        "candidate": {"label": "b", "probability": pytest.approx(0.9)},
        "label": "b",
        "reference_top3": ranking("abc", (0.9, 0.05, 0.05)),
        "candidate_top3": ranking("bac", (0.9, 0.05, 0.05)),
    }


def ranking(labels: str, probabilities: Sequence[float]) -> list[dict[str, Any]]:
    pairs = zip(labels, probabilities, strict=True)
    return [{"label": label, "probability": pytest.approx(probability)} for label, probability in pairs]


def test_at_most_100_flips_are_listed_and_all_are_counted() -> None:
    found = measured(500, wrong=150)
    assert len(found.flips) == figures.MOST_LISTED
    assert found.agreement_top1 == pytest.approx(0.7)


def test_the_report_is_json_and_the_card_leaves_the_flips_out() -> None:
    equal = measured(10, wrong=0)
    assert json.loads(json.dumps(equal.to_json(), allow_nan=False))["sqnr_db"] is None
    assert set(equal.to_json()) - set(equal.summary()) == {"flips", "per_class", "confusion"}
    assert not any(isinstance(value, list) for value in equal.summary().values())


@pytest.mark.parametrize(
    ("images", "wrong", "verdict"),
    [
        (1000, 0, PASS),
        (1000, 36, PASS),  # 96.4 %: the interval begins at 95.06 %
        (1000, 37, INCONCLUSIVE),  # 96.3 %: at 94.95 %
        (1000, 63, INCONCLUSIVE),  # 93.7 %: ends at 95.05 %
        (1000, 64, FAIL),  # 93.6 %: at 94.96 %
        (20, 0, INCONCLUSIVE),  # even without a mistake, 20 images say no more than 83.9 %
        (20, 10, FAIL),
    ],
)
def test_the_verdict_is_sure_only_when_the_whole_interval_is_on_one_side(images: int, wrong: int, verdict: str) -> None:
    found = measured(images, wrong, labelled=False)
    low, high = found.agreement_ci95
    assert verdict == (PASS if low >= 0.95 else FAIL if high < 0.95 else INCONCLUSIVE), "the case itself"
    assert judge(found, Limits(min_agreement=0.95)).verdict == verdict


def test_a_limit_is_still_within() -> None:
    found = measured(100, wrong=10)
    assert found.top1_drop_ci95_pp is not None
    exact = Limits(max_drop_pp=found.top1_drop_ci95_pp[1], min_agreement=found.agreement_ci95[0])
    assert judge(found, exact).verdict == PASS
    assert judge(found, Limits(exact.max_drop_pp - 1e-9, exact.min_agreement)).verdict == INCONCLUSIVE
    assert judge(found, Limits(exact.max_drop_pp, exact.min_agreement + 1e-9)).verdict == INCONCLUSIVE


def test_the_worst_of_the_two_verdicts_counts() -> None:
    found = measured(1000, wrong=50)
    assert judge(found, Limits(max_drop_pp=10, min_agreement=0.5)).verdict == PASS
    assert judge(found, Limits(max_drop_pp=1, min_agreement=0.5)).verdict == FAIL
    assert judge(found, Limits(max_drop_pp=10, min_agreement=0.99)).verdict == FAIL
    assert judge(found, Limits(max_drop_pp=5, min_agreement=0.5)).verdict == INCONCLUSIVE
    assert judge(found, Limits(max_drop_pp=5, min_agreement=0.99)).verdict == FAIL


def test_reasons_name_rate_interval_and_limit() -> None:
    agreement, drop = judge(measured(1000, wrong=10), Limits(2.0, 0.95)).reasons
    assert agreement.startswith("pass: top-1 agreement 99.00% [98.1")
    assert agreement.endswith("at least 95.00% required")
    assert drop.startswith("pass: top-1 drop 1.00 pp [0.")
    assert drop.endswith("at most 2.00 pp allowed")


@pytest.mark.parametrize("wrong", [10, 11, 12, 19, 20, 21])
@pytest.mark.parametrize("limits", [Limits(100, 0.95), Limits(5, 0.0)], ids=["agreement", "drop"])
def test_as_many_more_images_would_decide(wrong: int, limits: Limits) -> None:
    """With a little more than the promised number at the same rate the verdict falls, with half of it it does not."""
    images = 300
    gate = judge(measured(images, wrong), limits)
    assert gate.verdict == INCONCLUSIVE, "the case itself"
    promised = re.search(r"about ([\d,]+) more images would decide", " ".join(gate.reasons))
    assert promised is not None
    more = int(promised[1].replace(",", ""))
    for factor, decided in ((1.3, True), (0.5, False)):  # wrong answers are whole numbers
        then = images + round(factor * more)
        verdict = judge(measured(then, round(then * wrong / images)), limits).verdict
        assert (verdict != INCONCLUSIVE) == decided, f"{factor} times {more} images more"


@pytest.mark.parametrize("lowest", [0.95, 0.951])
def test_a_rate_at_the_limit_promises_nothing_that_nobody_has(lowest: float) -> None:
    """Beside a limit of 95.1 %, a rate of 95.0 % would be decided by some 180,000 images."""
    (reason,) = judge(measured(100, wrong=5, labelled=False), Limits(min_agreement=lowest)).reasons
    assert reason.endswith("the rate is close to the limit, so that more images are unlikely to decide")


def test_integer_probabilities_are_judged_by_what_they_can_show() -> None:
    """Rounded to 256 steps, small probabilities become 0: that is no error of a hundred nats."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (200, 10))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    paths, labels = tuple(Path(f"{i}.png") for i in range(200)), tuple("abcdefghij")
    rounded = np.rint(probabilities * 256) / 256
    found = compare(Predictions(paths, probabilities, labels), Predictions(paths, rounded, labels, step=1 / 256), None)
    assert found.sqnr_db > 20
    assert found.kl_mean < 0.01


def test_flips_are_near_ties_or_confident() -> None:
    """The reference leads by 0.05 and by 0.5; the third image keeps its class."""
    reference = np.array([[0.5, 0.45, 0.05], [0.7, 0.2, 0.1], [0.4, 0.35, 0.25]], np.float32)
    candidate = np.array([[0.45, 0.5, 0.05], [0.2, 0.7, 0.1], [0.4, 0.35, 0.25]], np.float32)
    paths = tuple(map(Path, "xyz"))
    found = compare(Predictions(paths, reference, tuple("abc")), Predictions(paths, candidate, tuple("abc")), None)
    assert (found.flips_near_tie, found.flips_confident) == (1, 1)


def test_classes_and_pairs_by_hand() -> None:
    found = compare(answers([0, 0, 1, 1, 0]), answers([0, 1, 1, 0, 1]), [0, 0, 1, 0, 1])
    assert found.per_class == [
        {"label": "a", "images": 3, "agreement": pytest.approx(1 / 3), "top1_reference": pytest.approx(2 / 3),
         "top1_candidate": pytest.approx(2 / 3)},
        {"label": "b", "images": 2, "agreement": 0.5, "top1_reference": 0.5, "top1_candidate": 1},
    ]  # fmt: skip
    assert found.confusion == [
        {"reference": "a", "candidate": "b", "images": 2},
        {"reference": "b", "candidate": "a", "images": 1},
    ]


def test_without_labels_classes_are_the_references() -> None:
    found = compare(answers([0, 0, 2]), answers([0, 1, 2]), None)
    assert [(row["label"], row["images"], row["agreement"]) for row in found.per_class] == [("a", 2, 0.5), ("c", 1, 1)]
    assert {row["top1_reference"] for row in found.per_class} == {None}


def test_paired_tests_of_the_drop_are_reported_beside_its_interval() -> None:
    found = measured(200, wrong=6, gained=1)
    assert (found.top1_lost, found.top1_gained) == (6, 1)
    assert found.top1_drop_p_value == pytest.approx(metrics.mcnemar_p_value(6, 1))
    assert found.top1_drop_bootstrap95_pp == pytest.approx(
        [100 * x for x in metrics.bootstrap_drop_interval(6, 1, 200)]
    )


def test_top5_of_six_classes() -> None:
    """The true class is the last of six in the candidate's ranking, and in the reference the first."""
    labels = tuple("abcdef")
    reference = np.array([[0.5, 0.3, 0.1, 0.05, 0.03, 0.02]] * 4, np.float32)
    candidate = reference.copy()
    candidate[0] = candidate[0, ::-1]
    paths = tuple(map(Path, "wxyz"))
    found = compare(Predictions(paths, reference, labels), Predictions(paths, candidate, labels), [0, 0, 0, 0])
    assert (found.top5_reference, found.top5_candidate, found.top5_drop_pp) == (1, 0.75, 25)
    assert found.top5_drop_ci95_pp == pytest.approx([100 * x for x in metrics.paired_drop_interval(1, 0, 4)])


def test_calibration_errors_of_both_sides() -> None:
    """Always 0.8 sure; right in 3 of 4 and in 2 of 4."""
    found = compare(answers([0, 0, 0, 0]), answers([0, 0, 0, 1]), [0, 0, 1, 0])
    assert found.ece_reference == pytest.approx(0.05)
    assert found.ece_candidate == pytest.approx(0.3)


def test_a_run_that_may_have_stopped_is_judged_by_the_sequence_alone() -> None:
    """39 wrong of 1,500 pass in one look; after many looks that is not certain yet."""
    truth, reference, candidate = [0] * 1500, answers([0] * 1500), answers([0] * 1451 + [1] * 49)
    fixed, anytime = (compare(reference, candidate, truth, interval) for interval in ("fixed", "anytime"))
    assert (fixed.interval, anytime.interval) == ("fixed", "anytime")
    assert anytime.agreement_ci95 == confidence_sequence.rate_interval(1451, 1500)
    assert anytime.top1_drop_ci95_pp == pytest.approx([100 * x for x in confidence_sequence.drop_interval(49, 0, 1500)])
    assert anytime.top1_drop_p_value is anytime.top1_drop_bootstrap95_pp is None
    limits = Limits(max_drop_pp=10, min_agreement=0.955)
    assert judge(fixed, limits).verdict == PASS
    assert judge(anytime, limits).verdict == INCONCLUSIVE
    assert "more images would decide" in judge(anytime, limits).reasons[0]


def test_top5_is_gated_among_more_than_five_classes() -> None:
    """50 of 1,000 true classes leave the first five, where 2 points may be lost."""
    labels = tuple("abcdef")
    reference = np.tile(np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.02], np.float32), (1000, 1))
    candidate = reference.copy()
    candidate[:50] = candidate[:50, ::-1]
    paths = tuple(Path(f"{i}.png") for i in range(1000))
    found = compare(Predictions(paths, reference, labels), Predictions(paths, candidate, labels), [0] * 1000)
    wide = Limits(max_drop_pp=10, min_agreement=0.9)
    assert judge(found, wide).verdict == FAIL
    assert judge(found, wide).reasons[2].startswith("fail: top-5 drop 5.00 pp [3.")
    assert judge(found, Limits(10, 0.9, max_top5_drop_pp=10)).verdict == PASS


def test_among_five_classes_there_is_no_top5_to_gate() -> None:
    assert len(judge(measured(100, wrong=1), Limits()).reasons) == 2
