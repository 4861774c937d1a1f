"""Figures of independent labels against a plain recomputation; those of a softmax are in `test_figures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convert.drift.comparison import Comparison, confidences, confusion_matrix
from convert.drift.figures import judge, measure
from convert.drift.predictions import Predictions
from convert.drift.run import EarlyStopping
from convert.statistics.metrics import wilson_interval
from convert.statistics.verdict import FAIL, PASS, Limits
from edge_runtime import ArtifactError
from edge_runtime.arrays import Array
from edge_runtime.specs import INDEPENDENT
from tests.convert.drift.predictors import FakePredictor, image_set

LABELS = ("edema", "mass", "nodule", "hernia")
PROBABILITIES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))


def predictions(rows: Any, labels: Sequence[str] = LABELS) -> Predictions:
    probabilities = np.asarray(rows, np.float32)
    paths = tuple(Path(f"{i:03}.png") for i in range(len(probabilities)))
    return Predictions(paths, probabilities, tuple(labels), head=INDEPENDENT)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    shape = (draw(st.integers(1, 12)), len(LABELS))
    p, q = (draw(hnp.arrays(np.float32, shape, elements=PROBABILITIES)) for _ in range(2))
    return p, q, draw(hnp.arrays(np.bool_, shape))


def in_plain_python(p: Array, q: Array, truth: Array) -> dict[str, Any]:
    """The same figures, label by label and image by image."""
    n, labels = p.shape
    before, after = ([{j for j in range(labels) if x[i, j] >= 0.5} for i in range(n)] for x in (p, q))
    wanted = [{j for j in range(labels) if truth[i, j]} for i in range(n)]
    lost = sum(b == w and a != w for b, a, w in zip(before, after, wanted, strict=True))
    gained = sum(b != w and a == w for b, a, w in zip(before, after, wanted, strict=True))
    near = 0
    for i in range(n):
        if before[i] != after[i]:
            near += max(abs(2 * float(p[i, j]) - 1) for j in before[i] ^ after[i]) < 0.1
    flips = sum(b != a for b, a in zip(before, after, strict=True))
    return {
        "agreement_top1": 1 - flips / n,
        "agreement_labels": np.mean([[(j in before[i]) == (j in after[i]) for j in range(labels)] for i in range(n)]),
        "top1_reference": np.mean([b == w for b, w in zip(before, wanted, strict=True)]),
        "top1_candidate": np.mean([a == w for a, w in zip(after, wanted, strict=True)]),
        "top1_lost": lost,
        "top1_gained": gained,
        "top1_drop_pp": 100 * (lost - gained) / n,
        "flips_near_tie": near,
        "flips_confident": flips - near,
        "max_abs_error": np.max(np.abs(p - q)),
    }


@given(pairs())
def test_figures_are_those_of_a_plain_recomputation(pair: tuple[Array, Array, Array]) -> None:
    p, q, truth = pair
    found = measure(Comparison(predictions(p), predictions(q), truth))
    for name, value in in_plain_python(p, q, truth).items():
        assert getattr(found, name) == pytest.approx(value), name
    agreed = round(found.agreement_top1 * len(p))
    assert found.agreement_ci95 == pytest.approx(wilson_interval(agreed, len(p)))
    assert (found.agreement_top5, found.top5_reference, found.head) == (None, None, INDEPENDENT)
    assert [each["agreement"] for each in found.per_class] == pytest.approx(np.mean((p >= 0.5) == (q >= 0.5), axis=0))
    assert [each["top1_reference"] for each in found.per_class] == pytest.approx(np.mean((p >= 0.5) == truth, axis=0))
    assert [each["positives"] for each in found.per_class] == truth.sum(axis=0).tolist()
    assert all(each["agreement"] >= found.agreement_top1 - 1e-12 for each in found.per_class), "no label is worse"


@given(pairs())
def test_what_went_and_what_came_is_counted_by_label(pair: tuple[Array, Array, Array]) -> None:
    p, q, _ = pair
    changes = {
        (each["reference"], each["candidate"]): each["images"]
        for each in measure(Comparison(predictions(p), predictions(q), None)).confusion
    }
    for j, label in enumerate(LABELS):
        before, after = p[:, j] >= 0.5, q[:, j] >= 0.5
        assert changes.get((label, f"not {label}"), 0) == np.sum(before & ~after)
        assert changes.get((f"not {label}", label), 0) == np.sum(~before & after)


@given(pairs())
def test_divergence_and_sqnr_are_those_of_bernoulli_variables(pair: tuple[Array, Array, Array]) -> None:
    p, q = (np.clip(each.astype(np.float64), 0.01, 0.99).astype(np.float32) for each in pair[:2])
    found = measure(Comparison(predictions(p), predictions(q), None))
    p, q = p.astype(np.float64), q.astype(np.float64)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert found.kl_mean == pytest.approx(divergence.sum(axis=1).mean(), abs=1e-9)
    one, other = np.log(p / (1 - p)), np.log(q / (1 - q))
    noise = np.sum((one - other) ** 2)
    with np.errstate(divide="ignore"):  # every label at 0.5 is no signal
        expected = 10 * np.log10(np.sum(one**2) / noise) if noise else np.inf
    assert found.sqnr_db == pytest.approx(expected, rel=1e-6)


def test_a_flip_lists_both_sets_and_how_probable_they_are() -> None:
    reference = predictions([[0.9, 0.6, 0.1, 0.2], [0.1, 0.2, 0.1, 0.05]])
    candidate = predictions([[0.9, 0.4, 0.1, 0.2], [0.1, 0.2, 0.1, 0.05]])
    truth = np.array([[True, False, False, False], [False] * 4])
    (flip,) = measure(Comparison(reference, candidate, truth)).flips
    assert (flip["reference"]["label"], flip["candidate"]["label"], flip["label"]) == ("edema, mass", "edema", "edema")
    assert flip["reference"]["probability"] == pytest.approx(0.9 * 0.6 * 0.9 * 0.8)
    assert flip["reference_top3"][0] == {"label": "edema", "probability": pytest.approx(0.9)}
    assert measure(Comparison(reference, candidate, None)).flips[0]["label"] is None


def test_no_label_at_all_is_an_answer_like_others() -> None:
    nothing, something = predictions([[0.1] * 4] * 3), predictions([[0.1, 0.1, 0.1, 0.9]] * 3)
    compared = Comparison(nothing, something, np.zeros((3, 4), bool))
    found = measure(compared)
    assert (found.top1_reference, found.top1_candidate, found.agreement_top1) == (1.0, 0.0, 0.0)
    assert found.flips[0]["reference"]["label"] == "no label"
    assert confusion_matrix(compared) is None
    before, after, changed = confidences(compared)
    assert before == pytest.approx([0.9**4] * 3)
    assert after == pytest.approx([0.9**3 * 0.1] * 3)
    assert changed.all()


def test_labels_in_another_order_are_matched_by_name() -> None:
    p = np.random.default_rng(1).uniform(0, 1, (20, 4))
    order = [2, 0, 3, 1]
    found = measure(Comparison(predictions(p), predictions(p[:, order], [LABELS[i] for i in order]), None))
    assert (found.agreement_top1, found.max_abs_error, found.sqnr_db) == (1.0, 0.0, np.inf)


def test_the_verdict_is_about_the_whole_set() -> None:
    rows = np.tile([[0.9, 0.1, 0.1, 0.8]], (400, 1))
    one_in_ten = rows.copy()
    one_in_ten[::10, 1] = 0.7
    truth = rows >= 0.5
    passed = judge(measure(Comparison(predictions(rows), predictions(rows), truth)), Limits())
    assert passed.verdict == PASS
    assert [reason.split(" ")[1] for reason in passed.reasons] == ["whole-set", "whole-set"]
    failed = judge(measure(Comparison(predictions(rows), predictions(one_in_ten), truth)), Limits())
    assert failed.verdict == FAIL
    assert failed.reasons[0].startswith("fail: whole-set agreement 90.00% [")
    assert failed.reasons[1].startswith("fail: whole-set drop 10.00 pp [")


def test_another_head_cannot_be_compared() -> None:
    independent = predictions([[0.9, 0.1, 0.1, 0.8]])
    with pytest.raises(ArtifactError, match="the reference has a head of kind independent, the candidate one of kind"):
        Comparison(independent, replace(independent, head="softmax"), None)


@given(pairs())
def test_early_stopping_counts_what_the_report_does(pair: tuple[Array, Array, Array]) -> None:
    p, q, _ = pair
    classes = [i % 3 for i in range(len(p))]
    images = image_set(len(p), classes)
    reference, candidate = (FakePredictor(classes, labels=("a", "b", "c", "d"), head=INDEPENDENT) for _ in range(2))
    stopping = EarlyStopping(reference, candidate, images, Limits())
    for index, rows in enumerate(zip(p, q, strict=True)):
        stopping(index, *rows)
    truth = np.eye(4, dtype=bool)[classes]
    labels = reference.labels
    counted = measure(Comparison(predictions(p, labels), predictions(q, labels), truth)).counts
    assert stopping.counts == counted
    assert counted.rank == "whole-set"
