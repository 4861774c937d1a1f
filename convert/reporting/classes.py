"""Results by class, grouped by what changed: of a thousand classes most did not, and those that did come first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convert.drift.comparison import Comparison
from convert.reporting.formatting import Report
from edge_runtime.specs import SOFTMAX

FEW_CLASSES = 30
"""So many are shown in full; of more, each group begins with `SHOWN`, and the rest is folded."""
SHOWN = 12
ENOUGH_FOR_RATES = 10
"""Images of a class: of fewer, right answers are counted, since a rate of one or two images says nothing."""


@dataclass(frozen=True)
class ClassResult:
    """What became of the images of one class.

    Attributes:
        images: those of the class: by their label, or, without labels, those that the reference puts into it. Of
            independent labels, all images.
        right_before, right_after: how many answers are right with the reference and the candidate; None without labels.
        changes: entries as of the report's `confusion`; none for independent labels.
    """

    label: str
    images: int
    agreement: float
    right_before: int | None
    right_after: int | None
    changes: tuple[dict[str, Any], ...] = ()

    @property
    def changed(self) -> int:
        """Return how many answers changed."""
        return round(self.images * (1 - self.agreement))

    @property
    def gain(self) -> int:
        """Return how many more answers are right; 0 without labels."""
        return 0 if self.right_before is None or self.right_after is None else self.right_after - self.right_before


@dataclass(frozen=True)
class ClassGroup:
    """Classes that changed alike: those that are shown at once, and those that are folded."""

    title: str
    shown: list[ClassResult]
    folded: list[ClassResult]
    changed: bool

    def __len__(self) -> int:
        return len(self.shown) + len(self.folded)


GROUPS: tuple[tuple[str, str, Callable[[ClassResult], bool]], ...] = (
    ("Fewer right answers", "", lambda each: each.gain < 0),
    ("More right answers", "", lambda each: each.gain > 0),
    ("Other answers, as many right", "Other answers", lambda each: each.gain == 0 and each.changed > 0),
    ("No change", "No change", lambda each: each.changed == 0),
)
"""Title with labels, title without, and whether a class belongs into the group."""


def class_groups(report: Report, comparison: Comparison) -> list[ClassGroup]:
    """Return the groups of a report's classes that have any; within one the classes that changed most come first.

    Classes of which no answer changed are in the order of the alphabet, so that one can be found.
    """
    results, labelled = _results(report, comparison), report["drift"]["labelled"]
    shown = len(results) if len(results) <= FEW_CLASSES else SHOWN
    groups = []
    for with_labels, without, belongs in GROUPS:
        found = sorted(filter(belongs, results), key=_most_changed)
        if found:
            changed = found[0].changed > 0
            first = shown if changed or len(results) <= FEW_CLASSES else 0
            title = with_labels if labelled else without
            groups.append(ClassGroup(title, found[:first], found[first:], changed))
    return groups


def have_rates(groups: list[ClassGroup]) -> bool:
    """Return whether any class has enough images for its accuracy to be a rate."""
    return any(each.images >= ENOUGH_FOR_RATES for group in groups for each in [*group.shown, *group.folded])


def _most_changed(result: ClassResult) -> tuple[int, int, str]:
    return -abs(result.gain), -result.changed, result.label.casefold()


def _results(report: Report, comparison: Comparison) -> list[ClassResult]:
    changes = _changes(comparison)
    return [
        ClassResult(
            each["label"],
            each["images"],
            each["agreement"],
            _hits(each["images"], each["top1_reference"]),
            _hits(each["images"], each["top1_candidate"]),
            tuple(changes.get(each["label"], ())),
        )
        for each in report["drift"]["per_class"]
    ]


def _hits(images: int, rate: float | None) -> int | None:
    return None if rate is None else round(images * rate)


def _changes(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Return what the answers to images of a class changed from and to, the most frequent first."""
    if comparison.reference.head != SOFTMAX:
        return {}
    before, after = comparison.answers
    class_of = before if comparison.truth is None else comparison.truth
    images_of: dict[int, list[int]] = {}
    for image in comparison.changed.tolist():
        images_of.setdefault(int(class_of[image]), []).append(image)
    return {
        comparison.labels[index]: comparison.decision.changes(before[images], after[images], comparison.labels)
        for index, images in images_of.items()
    }
