"""Figures as text: the same figure reads the same in the terminal, on the page, in JUnit and in the step summary.

A figure that is not there (None) is a dash. Minus signs are ASCII, so that a figure can be searched for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_runtime.geometry import STRETCH
from edge_runtime.specs import BINARY, INDEPENDENT, SOFTMAX, THRESHOLD

Report = Mapping[str, Any]
DASH = "–"
LOGITS = "logits"


@dataclass(frozen=True)
class Words:
    """What figures are called where an answer is of one kind.

    Attributes:
        rank: adjective of agreement, accuracy and drop, where a sentence begins.
        row: name of the accuracy in a table.
        same: what both networks predict where they agree.
        change, grouped: how changed answers, and how agreements are grouped; of the names of both networks.
        terms: names of the `explanations` of what agreement is.
    """

    rank: str
    row: str
    same: str
    change: str
    grouped: str
    terms: tuple[str, ...]


WORDS = {
    SOFTMAX: Words(
        "Top-1",
        "top-1",
        "the same class",
        "the classes that {} and {} predict",
        "by the class that {} predicts",
        ("Agreement",),
    ),
    INDEPENDENT: Words(
        "Whole-set",
        "whole set",
        "the same whole set of labels",
        "the labels that {} and {} disagree on",
        "label by label",
        ("Agreement", "Whole set"),
    ),
}
"""Head -> how its answers are spoken of."""


def words(drift: Report | None) -> Words:
    """Return the words for a report's `drift`."""
    return WORDS[(drift or {}).get("head", SOFTMAX)]


def ranks_five(drift: Report) -> bool:
    """Return whether top-5 figures of a report's `drift` say anything: among five classes they are always 100 %."""
    from convert.drift.decisions import TOP  # irv2-inspect does without

    return drift["agreement_top5"] is not None and int(drift["classes"]) > TOP


def head_text(head: str, classes: int) -> str:
    """Return in words what a network ends in: one of `edge_runtime.specs.HEADS`, or "binary"."""
    if head == BINARY:
        return "two labels from one unit (shipped as the equal softmax)"
    if head == INDEPENDENT:
        return f"{count(classes)} independent labels, threshold {THRESHOLD}"
    return f"{count(classes)} classes, softmax"


def prepared_text(spec: Mapping[str, Any]) -> str:
    """Return in words how images are prepared, given a specification as a card holds it."""
    mean, std = (
        f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{value:g}' for value in values)})"
        for values in (spec["mean"], spec["std"])
    )
    order = "grey" if spec.get("channels", 3) == 1 else spec["channel_order"]
    return f"(pixel - {mean}) / {std}, {order}, {spec['height']} x {spec['width']}, fit: {spec.get('fit', STRETCH)}"


def count(value: int) -> str:
    """Return a count with thousands separators."""
    return f"{value:,}"


def number_of(value: int, one: str, many: str) -> str:
    """Return a count with its noun."""
    return f"{count(value)} {one if value == 1 else many}"


def gain(value: int) -> str:
    """Return a difference of counts with its sign; 0 has none."""
    return f"{value:+,}" if value else "0"


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction in percent."""
    return DASH if value is None else f"{value:.{digits}%}"


def percent_interval(interval: Sequence[float]) -> str:
    """Return an interval of fractions in percent."""
    return f"[{', '.join(map(percent, interval))}]"


def probability(value: float) -> str:
    """Return the probability of one answer in percent."""
    return percent(value, 1)


def points(value: float | None) -> str:
    """Return percentage points with their unit."""
    return DASH if value is None else f"{value:z.2f} pp"


def points_interval(interval: Sequence[float]) -> str:
    """Return an interval of percentage points; the value before it has the unit."""
    return f"[{', '.join(f'{end:z.2f}' for end in interval)}]"


def decibel(value: float | None) -> str:
    """Return an SQNR; None, as in a report, and infinity stand for equal outputs."""
    return "equal outputs" if value in (None, float("inf")) else f"{value:z.1f} dB"


def number(value: float) -> str:
    """Write a constant with the digits that it has, six at most."""
    return f"{value:.6g}"


def megabytes(size: int) -> str:
    """Return bytes in units of a million, or of a thousand below one."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def milliseconds(value: float | None) -> str:
    """Return a time in milliseconds; below one with two significant digits."""
    if value is None:
        return DASH
    return f"{value:,.1f} ms" if value >= 1 else f"{value:.2g} ms"


def p_value(value: float) -> str:
    """Return a p-value with three significant digits."""
    return f"{value:.3g}"


def error(value: float) -> str:
    """Return an error of a probability with two significant digits."""
    return f"{value:.2g}"


def flip_kinds(near_ties: int, confident: int) -> str:
    """Return how many changed answers were near ties and how many were confident."""
    return f"{near_ties:,} near {'tie' if near_ties == 1 else 'ties'}, {confident:,} confident"


def attribution_cells(step: Report) -> tuple[str, str, str]:
    """Return SQNR, agreement and number of images of a step of a report's `blame`; agreement and images may be None."""
    sqnr_db, agreement, images = step["sqnr_db"], step["agreement"], step["images"]
    sqnr = DASH if sqnr_db is None and agreement is None else decibel(sqnr_db)
    return sqnr, percent(agreement), DASH if images is None else count(images)


def drift_rows(drift: Report) -> list[tuple[str, str]]:
    """Return names and texts of the figures of a report's `drift`, for the terminal and for CI."""
    agreement = f"{percent(drift['agreement_top1'])} {percent_interval(drift['agreement_ci95'])}"
    near_ties, confident = drift["flips_near_tie"], drift["flips_confident"]
    return [
        ("agreement", agreement),
        *clear_agreement(drift),
        *_second_agreement(drift),
        *(_accuracy_rows(drift) if drift["labelled"] else [(words(drift).row, "images have no labels")]),
        (sqnr_name(drift), sqnr(drift)),
        ("largest probability error", error(drift["max_abs_error"])),
        ("changed answers", f"{count(near_ties + confident)} ({flip_kinds(near_ties, confident)})"),
    ]


def clear_agreement(drift: Report) -> list[tuple[str, str]]:
    """Return name and text of the agreement on images whose answer the reference was not in doubt of, if there are any.

    Most changed answers are near ties, and say more of the images than of the candidate.
    """
    if drift.get("agreement_clear") is None:
        return []
    interval = percent_interval(drift["agreement_clear_ci95"])
    name = f"agreement, lead of {100 * drift['clear_margin']:.0f} points"
    return [(name, f"{percent(drift['agreement_clear'])} {interval} of {count(drift['clear_images'])} images")]


def sqnr_name(drift: Report) -> str:
    """Return what the SQNR of a report's `drift` is of."""
    if drift.get("sqnr_of", LOGITS) == LOGITS:
        return "SQNR of the logits"
    return f"SQNR of answers in steps of {percent(drift['answer_step'])}"


def sqnr(drift: Report) -> str:
    """Return the SQNR of a report's `drift`, with the number of images where that is not all of them."""
    images = drift.get("sqnr_images", drift["images"])
    return decibel(drift["sqnr_db"]) + (f" (first {count(images)} images)" if images < drift["images"] else "")


def _second_agreement(drift: Report) -> list[tuple[str, str]]:
    """Return an agreement that is easier to reach than that of the whole answer, where there is one."""
    if drift["agreement_top5"] is None:
        return [("agreement, each label", percent(drift["agreement_labels"]))]
    return [("agreement, top-5", percent(drift["agreement_top5"]))] if ranks_five(drift) else []


def _accuracy_rows(drift: Report) -> list[tuple[str, str]]:
    """Return what needs labels."""

    def both(key: str) -> str:
        return f"{percent(drift[f'{key}_reference'])} reference, {percent(drift[f'{key}_candidate'])} candidate"

    rows = []
    ranks = [("top1", words(drift).row), *([("top5", "top-5")] if ranks_five(drift) else [])]
    for key, rank in ranks:
        drop = f"{points(drift[f'{key}_drop_pp'])} {points_interval(drift[f'{key}_drop_ci95_pp'])}"
        rows += [(rank, both(key)), (f"{rank} drop", drop)]
    rows.append(("calibration error", both("ece")))
    if drift["top1_drop_p_value"] is not None:
        changes = f"{count(drift['top1_lost'])} answers lost, {count(drift['top1_gained'])} gained"
        rows.append(("McNemar's p", f"{p_value(drift['top1_drop_p_value'])} ({changes})"))
    return rows
