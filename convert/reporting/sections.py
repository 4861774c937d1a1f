"""What the sections of the page say: a report's figures and facts in words.

What a report lacks is left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.drift.comparison import Comparison, effects
from convert.reporting.formatting import (
    Report,
    count,
    decibel,
    error,
    flip_kinds,
    megabytes,
    milliseconds,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
)
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS

MACHINE = {"python": "Python {}", "system": "{}", "machine": "{}", "cores": "{} cores"}
"""Key of a report's environment -> its text."""
INTERVALS = {
    "fixed": "95%, for a number of images that was fixed in advance",
    "anytime": "95%, valid after every image, so that the run could stop early",
}
"""Value of `drift.interval` -> its text."""


@dataclass(frozen=True)
class VerdictStyle:
    """How a verdict looks and reads.

    Attributes:
        word: the verdict.
        tone: class of the style sheet that colours it.
        icon: SVG path in a box of 24, so that colour is not needed to tell verdicts apart.
        headline: the verdict as a sentence.
    """

    word: str
    tone: str
    icon: str
    headline: str


VERDICTS = {
    PASS: VerdictStyle("Pass", "pass", "M5 13l5 5L19 7", "The drift is within the limits."),
    FAIL: VerdictStyle("Fail", "fail", "M6 6l12 12M18 6L6 18", "The drift exceeds a limit."),
    INCONCLUSIVE: VerdictStyle(
        "Inconclusive", "inconclusive", "M8 9a4 4 0 1 1 6 3.4c-1.3.8-2 1.5-2 3M12 19v.5", "Too few images to tell."
    ),
    None: VerdictStyle("Not measured", "unknown", "M6 12h12", "Drift was not measured."),
}


@dataclass(frozen=True)
class Figure:
    """A key figure: its title, its value and notes below it."""

    title: str
    value: str
    notes: tuple[str, ...] = ()


def verdict(report: Report) -> VerdictStyle:
    """Return the style of the gate's verdict."""
    return VERDICTS[_part(report, "gate").get("verdict")]


def reasons(report: Report) -> list[tuple[VerdictStyle | None, str]]:
    """Return for each reason the verdict that it begins with, and the rest of it."""
    split = [text.partition(": ") for text in _part(report, "gate").get("reasons") or ()]
    return [
        (VERDICTS[word], rest) if word in VERDICTS else (None, f"{word}{colon}{rest}") for word, colon, rest in split
    ]


def key_figures(report: Report, comparison: Comparison | None) -> list[Figure]:
    """Return the key figures that this report has, the most important first."""
    drift = _part(report, "drift")
    made = [_top_k(drift, 1), _agreement(drift), _changed(drift, comparison), _top_k(drift, 5)]
    made += [_sqnr(drift), _largest_error(drift), _calibration_error(drift), _size(report)]
    return [figure for figure in made if figure is not None]


def summary(report: Report, comparison: Comparison | None) -> list[str]:
    """Return what was compared, in short pieces for one line."""
    artifact = report["artifact"]
    pieces = [Path(artifact["path"]).name, megabytes(artifact["bytes"])]
    if comparison is not None:
        pieces.append(f"{_images(comparison)} of {count(len(comparison.labels))} classes")
    return pieces


def facts(report: Report, comparison: Comparison | None, folders: bool) -> list[tuple[str, str]]:
    """Return what was compared, as terms and values; without `folders` only names of files, no paths."""

    def place(path: str) -> str:
        return path if folders else Path(path).name

    artifact, reference = report["artifact"], _part(report, "reference")
    environment, timings = _part(report, "environment"), _part(report, "timings_s")
    machine = [text.format(environment[key]) for key, text in MACHINE.items() if key in environment]
    versions = _part(environment, "versions")
    found = [
        ("Artifact", place(artifact["path"])),
        ("SHA-256", artifact["sha256"]),
        ("Scheme", str(report.get("scheme") or "")),
        ("Reference", place(reference.get("path") or "")),
        ("Its SHA-256", reference.get("model_sha256") or ""),
        ("Images", "" if comparison is None else f"{_images(comparison)}{_of_available(report, comparison)}"),
        ("Image folder", str(common_folder(comparison.reference.paths)) if comparison is not None and folders else ""),
        ("Unreadable", "" if comparison is None else _skipped(comparison)),
        ("Layers in float", ", ".join(map(str, report.get("float_layers") or ()))),
        ("Intervals", INTERVALS.get(_part(report, "drift").get("interval") or "", "")),
        ("Measured on", ", ".join(machine)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Run time", ", ".join(f"{stage} {seconds:,.1f} s" for stage, seconds in timings.items())),
    ]
    return [(term, value) for term, value in found if value]


def schemes(report: Report, others: Sequence[Report]) -> list[Report]:
    """Return the reports of all schemes of the run, the smallest artifact first; none where there is only one."""
    return sorted([report, *others], key=lambda each: int(each["artifact"]["bytes"])) if others else []


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _top_k(drift: Report, k: int) -> Figure | None:
    before, after, drop = (drift.get(f"top{k}_{key}") for key in ("reference", "candidate", "drop_pp"))
    if before is None or after is None or drop is None:
        return None
    interval, bootstrap = drift.get(f"top{k}_drop_ci95_pp"), drift.get(f"top{k}_drop_bootstrap95_pp")
    p = drift.get(f"top{k}_drop_p_value")
    notes = [f"drop {points(drop)}" + ("" if interval is None else f" {points_interval(interval)}")]
    notes += [] if bootstrap is None else [f"bootstrap {points_interval(bootstrap)}"]
    notes += [] if p is None else [f"exact McNemar p = {p_value(p)}"]
    return Figure(f"Top-{k} accuracy", f"{percent(before)} → {percent(after)}", tuple(notes))


def _agreement(drift: Report) -> Figure | None:
    if drift.get("agreement_top1") is None:
        return None
    interval, top5 = drift.get("agreement_ci95"), drift.get("agreement_top5")
    notes = [] if interval is None else [percent_interval(interval)]
    notes += [] if top5 is None else [f"{percent(top5)} within the top 5"]
    return Figure("Top-1 agreement", percent(drift["agreement_top1"]), tuple(notes))


def _changed(drift: Report, comparison: Comparison | None) -> Figure | None:
    if comparison is None:
        return None
    notes = [", ".join(f"{count(images)} {effect}" for effect, images in effects(comparison).items())]
    near_ties, confident = drift.get("flips_near_tie"), drift.get("flips_confident")
    notes += [] if near_ties is None or confident is None else [flip_kinds(near_ties, confident)]
    value = f"{count(len(comparison.changed))} of {count(len(comparison))}"
    return Figure("Changed answers", value, tuple(note for note in notes if note))


def _sqnr(drift: Report) -> Figure | None:
    if "sqnr_db" not in drift:
        return None
    cosine = drift.get("cosine_mean")
    notes = () if cosine is None else (f"cosine similarity {cosine:.4f}",)
    return Figure("SQNR of the logits", decibel(drift["sqnr_db"]), notes)


def _largest_error(drift: Report) -> Figure | None:
    if drift.get("max_abs_error") is None:
        return None
    divergence = drift.get("kl_mean")
    notes = () if divergence is None else (f"mean KL divergence {divergence:.4f} nats",)
    return Figure("Largest probability error", error(drift["max_abs_error"]), notes)


def _calibration_error(drift: Report) -> Figure | None:
    before, after = drift.get("ece_reference"), drift.get("ece_candidate")
    if before is None or after is None:
        return None
    value = f"{percent(before)} → {percent(after)}"
    return Figure("Expected calibration error", value, ("mean gap between confidence and accuracy",))


def _size(report: Report) -> Figure:
    latency = report.get("latency_ms")
    notes = () if latency is None else (f"{milliseconds(latency)} per image",)
    return Figure("Size", megabytes(report["artifact"]["bytes"]), notes)


def _images(comparison: Comparison) -> str:
    return f"{count(len(comparison))} {'unlabelled' if comparison.true_classes is None else 'labelled'} images"


def _of_available(report: Report, comparison: Comparison) -> str:
    """Return how many images there were, where the run did not use all of them."""
    available = _part(report, "sampling").get("available") or 0
    return f", of {count(available)} in a seeded shuffle" if available > len(comparison) else ""


def _skipped(comparison: Comparison) -> str:
    skipped = len(comparison.candidate.skipped)
    return f"{count(skipped)} more images, not counted" if skipped else ""


def _part(report: Report, key: str) -> Report:
    """Return a part of a report, or an empty one where it is missing or None."""
    return report.get(key) or {}
