"""Results by class: each class is in one group, and what changed comes before what did not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convert.drift.comparison import Comparison
from convert.drift.predictions import Predictions
from convert.reporting.classes import FEW_CLASSES, SHOWN, ClassGroup, class_groups, have_rates
from edge_runtime.specs import INDEPENDENT
from tests.convert.comparisons import LABELS, comparison, report

CLASSES = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40)


def groups_of(compared: Comparison) -> list[ClassGroup]:
    return class_groups(report(compared), compared)


@given(CLASSES)
def test_counts_are_those_of_the_images(images: list[tuple[int, int, int]]) -> None:
    """Counted again, image by image."""
    truth, before, after = (list(each) for each in zip(*images, strict=True))
    for group in groups_of(comparison(before, after, truth)):
        for found in group.shown:
            own = [each for each in images if LABELS[each[0]] == found.label]
            assert found.images == len(own)
            assert found.right_before == sum(reference == true for true, reference, _ in own)
            assert found.right_after == sum(candidate == true for true, _, candidate in own)
            changed = [each[1:] for each in own if each[1] != each[2]]
            assert found.changed == len(changed)
            told = [(pair["reference"], pair["candidate"]) for pair in found.changes for _ in range(pair["images"])]
            assert sorted(told) == sorted((LABELS[one], LABELS[other]) for one, other in changed)


@given(CLASSES)
def test_every_class_is_in_one_group(images: list[tuple[int, int, int]]) -> None:
    truth, before, after = (list(each) for each in zip(*images, strict=True))
    for labels, classes in ((truth, truth), (None, before)):
        groups = groups_of(comparison(before, after, labels))
        listed = [found.label for group in groups for found in group.shown]
        assert sorted(listed) == sorted({LABELS[each] for each in classes})
        assert sum(len(group) for group in groups) == len(listed), "of few classes nothing is folded"


def test_of_many_classes_each_group_begins_with_the_largest_changes() -> None:
    """Class k has k images, and loses all of them; the last ten classes keep their one image."""
    many = FEW_CLASSES + 10
    truth = [k for k in range(many - 10) for _ in range(k + 1)] + list(range(many - 10, many))
    after = [(k + 1) % many if k < many - 10 else k for k in truth]
    labels = [f"class {k:02}" for k in range(many)]
    fewer, same = groups_of(comparison(truth, after, truth, labels=labels))
    assert [found.gain for found in fewer.shown] == [-n for n in range(FEW_CLASSES, FEW_CLASSES - SHOWN, -1)]
    assert len(fewer.folded) == FEW_CLASSES - SHOWN
    assert same.shown == []
    assert [found.label for found in same.folded] == labels[-10:]


def test_a_rate_takes_ten_images() -> None:
    assert not have_rates(groups_of(comparison([0] * 9, [0] * 9, [0] * 9)))
    assert have_rates(groups_of(comparison([0] * 10, [0] * 10, [0] * 10)))


def test_independent_labels_change_one_by_one() -> None:
    """Of three images one loses its second label; the first label stays."""
    rows = np.array([[0.9, 0.9], [0.9, 0.1], [0.1, 0.1]], np.float32)
    moved = rows.copy()
    moved[0, 1] = 0.2
    paths = tuple(Path(f"{i}.png") for i in range(3))
    one, other = (Predictions(paths, x, ("sun", "sea"), head=INDEPENDENT) for x in (rows, moved))
    fewer, same = groups_of(Comparison(one, other, rows >= 0.5))
    assert [(each.label, each.right_before, each.right_after, each.changes) for each in fewer.shown] == [
        ("sea", 3, 2, ())
    ]
    assert [each.label for each in same.shown] == ["sun"]
