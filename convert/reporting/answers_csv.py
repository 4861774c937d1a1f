"""What both networks answered to each image, as CSV: for a spreadsheet, or to sort what changed."""

from __future__ import annotations

import csv
from pathlib import Path

from convert.drift.comparison import Comparison
from convert.system.temporary import write_atomically

COLUMNS = ("image", "label", "reference", "reference_probability", "candidate", "candidate_probability", "same")


def write_answers(path: Path, comparison: Comparison) -> None:
    """Write a row for each image, in the order of the run; what it shows is empty where nobody says it.

    Probabilities are those of the answers, with all their digits; `same` is 1 or 0. A file that cannot be written is a
    `ConvertError`.
    """
    decision, labels, truth = comparison.decision, comparison.labels, comparison.truth
    both = (comparison.before, comparison.after)
    sides = [
        zip((decision.name(answer, labels) for answer in answers), decision.confidence(rows, answers), strict=True)
        for rows, answers in zip(both, comparison.answers, strict=True)
    ]
    shown = [""] * len(comparison) if truth is None else [decision.name(each, labels) for each in truth]
    rows = zip(comparison.reference.paths, shown, *sides, map(int, comparison.same), strict=True)

    def fill(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(
                (image, label, *reference, *candidate, same) for image, label, reference, candidate, same in rows
            )

    write_atomically(path, fill)
