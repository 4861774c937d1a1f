"""What changed between two networks' answers, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.drift import comparison as counts
from convert.drift.comparison import Comparison
from convert.drift.figures import measure
from tests.convert.comparisons import LABELS, answers, comparison

ANT, BEE, CAT, DOG = range(4)
REFERENCE = [ANT, ANT, BEE, CAT, CAT, DOG]
CANDIDATE = [ANT, BEE, BEE, DOG, CAT, CAT]
TRUTH = [ANT, ANT, BEE, DOG, ANT, BEE]


def test_pairs_are_counted_most_frequent_first() -> None:
    compared = comparison([ANT, ANT, ANT, DOG, BEE], [BEE, BEE, ANT, CAT, CAT])
    assert counts.changed_pairs(compared) == [
        {"reference": "ant", "candidate": "bee", "images": 2},
        {"reference": "bee", "candidate": "cat", "images": 1},
        {"reference": "dog", "candidate": "cat", "images": 1},
    ]


def test_the_confusion_has_the_reference_in_its_rows() -> None:
    matrix = counts.confusion_matrix(comparison(REFERENCE, CANDIDATE))
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_pairs_and_confusion_count_the_same_changes(both: list[tuple[int, int]]) -> None:
    compared = comparison([a for a, _ in both], [b for _, b in both])
    matrix = counts.confusion_matrix(compared)
    assert matrix.sum() == len(both)
    assert matrix.sum() - np.trace(matrix) == sum(pair["images"] for pair in counts.changed_pairs(compared))
    assert len(compared.changed) == sum(a != b for a, b in both)


def test_flips_come_most_confident_first_with_both_top_three_and_the_truth() -> None:
    reference = answers([ANT, BEE, CAT], sure=[0.6, 0.9, 0.7])
    candidate = answers([BEE, CAT, CAT], sure=[0.5, 0.4, 0.7])
    first, second = counts.flips(Comparison(reference, candidate, [BEE, BEE, CAT]), most=10)
    assert [flip["image"] for flip in (first, second)] == ["photos/001.png", "photos/000.png"]
    assert first["reference"] == first["reference_top3"][0] == {"label": "bee", "probability": pytest.approx(0.9)}
    assert [guess["label"] for guess in first["candidate_top3"]] == ["cat", "ant", "bee"]
    assert first["candidate"] == first["candidate_top3"][0] == {"label": "cat", "probability": pytest.approx(0.4)}
    assert first["label"] == second["label"] == "bee"
    (only,) = counts.flips(Comparison(reference, candidate, None), most=1)
    assert (only["image"], only["label"]) == ("photos/001.png", None)


def test_two_classes_have_a_top_two() -> None:
    (flip,) = counts.flips(comparison([0], [1], labels=("no", "yes")), most=5)
    assert [guess["label"] for guess in flip["reference_top3"]] == ["no", "yes"]


def test_one_lost_and_one_gained_are_no_drop() -> None:
    drift = measure(comparison(REFERENCE, CANDIDATE, TRUTH))
    assert (drift.top1_lost, drift.top1_gained, drift.top1_drop_pp) == (1, 1, 0)


def class_change(
    label: str, images: int, agreement: float, before: float | None = None, after: float | None = None
) -> dict[str, Any]:
    return {
        "label": label,
        "images": images,
        "agreement": pytest.approx(agreement),
        "top1_reference": None if before is None else pytest.approx(before),
        "top1_candidate": None if after is None else pytest.approx(after),
    }


def test_classes_are_those_of_the_truth() -> None:
    assert counts.by_class(comparison(REFERENCE, CANDIDATE, TRUTH)) == [
        class_change("ant", 3, 2 / 3, 2 / 3, 1 / 3),
        class_change("bee", 2, 1 / 2, 1 / 2, 1 / 2),
        class_change("dog", 1, 0, 0, 1),
    ]


def test_without_labels_classes_are_those_of_the_reference() -> None:
    assert counts.by_class(comparison(REFERENCE, CANDIDATE)) == [
        class_change("ant", 2, 1 / 2),
        class_change("bee", 1, 1),
        class_change("cat", 2, 1 / 2),
        class_change("dog", 1, 0),
    ]


def test_confidences_are_of_the_class_of_the_reference() -> None:
    reference, candidate = answers([ANT, BEE], sure=[0.9, 0.6]), answers([ANT, CAT], sure=[0.8, 0.7])
    before, after, changed = counts.confidences(Comparison(reference, candidate, None))
    assert before == pytest.approx([0.9, 0.6])
    assert after == pytest.approx([0.8, 0.1])
    assert changed.tolist() == [False, True]


@given(st.permutations(range(4)))
def test_classes_are_matched_by_label(order: list[int]) -> None:
    """A candidate whose classes come in another order has changed nothing."""
    plain = comparison(REFERENCE, CANDIDATE, TRUTH)
    shuffled = replace(
        plain.candidate,
        labels=tuple(LABELS[i] for i in order),
        probabilities=plain.candidate.probabilities[:, order],
    )
    other = Comparison(plain.reference, shuffled, TRUTH)
    assert counts.flips(other, 10) == counts.flips(plain, 10)
    assert counts.by_class(other) == counts.by_class(plain)
    assert counts.changed_pairs(other) == counts.changed_pairs(plain)
