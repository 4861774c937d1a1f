"""The report's figures in words: what the page says of verdict, key figures and schemes, and of what was compared.

What a report lacks is left out of a list, and a dash in a table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.drift import comparison as counts
from convert.drift.comparison import Comparison
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS

Report = Mapping[str, Any]
DASH = "–"
MACHINE = {"python": "Python {}", "system": "{}", "machine": "{}", "cores": "{} cores"}
"""Key of a report's environment -> how it is worded."""
INTERVALS = {
    "fixed": "95 %, for a number of images that was fixed beforehand",
    "anytime": "95 %, valid at every image, so that the run could stop when it was certain",
}
"""Value of `drift.interval` -> how it is worded."""


@dataclass(frozen=True)
class VerdictStyle:
    """How a verdict looks and reads: `tone` names its colour; `icon`, an SVG path in a box of 24, says it without."""

    word: str
    tone: str
    icon: str
    headline: str


VERDICTS = {
    PASS: VerdictStyle("Pass", "pass", "M5 13l5 5L19 7", "The drift is within the limits."),
    FAIL: VerdictStyle("Fail", "fail", "M6 6l12 12M18 6L6 18", "The drift is over the limit."),
    INCONCLUSIVE: VerdictStyle(
        "Inconclusive", "inconclusive", "M8 9a4 4 0 1 1 6 3.4c-1.3.8-2 1.5-2 3M12 19v.5", "Too few images to tell."
    ),
    None: VerdictStyle("Not measured", "unknown", "M6 12h12", "How far it drifted was not measured."),
}


@dataclass(frozen=True)
class Figure:
    """One of the key figures: what it is, its value, and what else to know of it."""

    title: str
    value: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SchemeRow:
    """One line of the table of schemes; `is_this` marks the one that the page is about."""

    scheme: str
    size: str
    latency: str
    top1: str
    drop: str
    agreement: str
    sqnr: str
    verdict: VerdictStyle
    is_this: bool


@dataclass(frozen=True)
class AttributionRow:
    """One line of the blame: what a step on the way from Keras to the device changed."""

    name: str
    sqnr: str
    agreement: str
    images: str


@dataclass(frozen=True)
class Attempt:
    """One line of what was tried to get an artifact through its gate."""

    layers: str
    size: str
    latency: str
    sqnr: str
    agreement: str
    verdict: VerdictStyle


def verdict(report: Report) -> VerdictStyle:
    """Of the report's gate."""
    return VERDICTS[_part(report, "gate").get("verdict")]


def reasons(report: Report) -> list[tuple[VerdictStyle | None, str]]:
    """The verdict that each reason begins with, and the rest of it."""
    split = [text.partition(": ") for text in _part(report, "gate").get("reasons") or ()]
    return [
        (VERDICTS[word], rest) if word in VERDICTS else (None, f"{word}{colon}{rest}") for word, colon, rest in split
    ]


def key_figures(report: Report, comparison: Comparison | None) -> list[Figure]:
    """Those that this report has, the most important first."""
    drift = _part(report, "drift")
    made = [_top_k(drift, 1), _agreement(drift), _changed(drift, comparison), _top_k(drift, 5)]
    made += [_sqnr(drift), _largest_error(drift), _calibration_error(drift), _size(report)]
    return [figure for figure in made if figure is not None]


def summary(report: Report, comparison: Comparison | None) -> list[str]:
    """What was compared, in a line of short pieces."""
    artifact = report["artifact"]
    pieces = [Path(artifact["path"]).name, megabytes(artifact["bytes"])]
    if comparison is not None:
        pieces.append(f"{_images(comparison)} of {len(comparison.labels):,} classes")
    return pieces


def facts(report: Report, comparison: Comparison | None, folders: bool) -> list[tuple[str, str]]:
    """What was compared: terms and their values; without `folders` no path, only names of files."""

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
        ("Images from", str(common_folder(comparison.reference.paths)) if comparison is not None and folders else ""),
        ("Not readable", "" if comparison is None else _skipped(comparison)),
        ("Layers in float", ", ".join(map(str, report.get("float_layers") or ()))),
        ("Intervals", INTERVALS.get(_part(report, "drift").get("interval") or "", "")),
        ("Measured on", ", ".join(machine)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Time taken", ", ".join(f"{stage} {seconds:,.1f} s" for stage, seconds in timings.items())),
    ]
    return [(term, value) for term, value in found if value]


def schemes(report: Report, others: Sequence[Report]) -> list[SchemeRow]:
    """A row for each scheme of the run, the smallest artifact first; none where there is only one."""
    ranked = sorted([report, *others], key=lambda each: int(each["artifact"]["bytes"]))
    return [_scheme_row(each, each is report) for each in ranked] if others else []


def blame(report: Report) -> list[AttributionRow]:
    """The steps of the report's blame."""
    return [
        AttributionRow(
            f"{step['from']} → {step['to']}",
            DASH if step.get("sqnr_db") is None and step.get("agreement") is None else decibel(step.get("sqnr_db")),
            percent(step.get("agreement")),
            DASH if step.get("images") is None else f"{step['images']:,}",
        )
        for step in report.get("blame") or ()
    ]


def attempts(report: Report) -> list[Attempt]:
    """What the report's recovery tried, in its order."""
    return [
        Attempt(
            f"{step['layers']:,}",
            megabytes(step["bytes"]),
            milliseconds(step.get("milliseconds")),
            decibel(step.get("sqnr_db")),
            percent(step.get("agreement")),
            VERDICTS[step.get("verdict")],
        )
        for step in report.get("recovery") or ()
    ]


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that all files are in or below."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent."""
    return DASH if value is None else _signed(f"{value:.{digits}%}")


def points(value: float | None) -> str:
    """Percentage points."""
    return DASH if value is None else _signed(f"{value:.2f} pp")


def gain(value: int) -> str:
    """A count with its sign; 0 without."""
    return _signed(f"{value:+,}") if value else "0"


def decibel(value: float | None) -> str:
    """One decimal; None, which in a report stands for equal outputs, is infinity."""
    return "∞ dB" if value is None else _signed(f"{value:.1f} dB")


def megabytes(size: int) -> str:
    """Bytes in units of a million."""
    return f"{size / 1e6:,.1f} MB"


def milliseconds(value: float | None) -> str:
    """One decimal."""
    return DASH if value is None else f"{value:,.1f} ms"


def _top_k(drift: Report, k: int) -> Figure | None:
    before, after, drop = (drift.get(f"top{k}_{key}") for key in ("reference", "candidate", "drop_pp"))
    if before is None or after is None or drop is None:
        return None
    interval = drift.get(f"top{k}_drop_ci95_pp")
    shown = "" if interval is None else _signed(f" [{interval[0]:.2f}, {interval[1]:.2f}]")
    bootstrap = drift.get(f"top{k}_drop_bootstrap95_pp")
    notes = [f"drop {points(drop)}{shown}"]
    notes += [] if bootstrap is None else [_signed(f"bootstrap [{bootstrap[0]:.2f}, {bootstrap[1]:.2f}]")]
    notes += _note("exact McNemar p = {:.3g}", drift.get(f"top{k}_drop_p_value"))
    return Figure(f"Top-{k} accuracy", f"{percent(before)} → {percent(after)}", tuple(notes))


def _agreement(drift: Report) -> Figure | None:
    if drift.get("agreement_top1") is None:
        return None
    interval = drift.get("agreement_ci95")
    notes = () if interval is None else (f"[{interval[0]:.2%}, {interval[1]:.2%}]",)
    within = _note("{:.2%} within the top 5", drift.get("agreement_top5"))
    return Figure("Top-1 agreement", percent(drift["agreement_top1"]), (*notes, *within))


def _changed(drift: Report, comparison: Comparison | None) -> Figure | None:
    if comparison is None:
        return None
    effects = [f"{count:,} {effect}" for effect, count in counts.effects(comparison).items()]
    kinds = [
        f"{drift[key]:,} {kind}"
        for key, kind in (("flips_near_tie", "near ties"), ("flips_confident", "confident"))
        if drift.get(key) is not None
    ]
    notes = tuple(", ".join(part) for part in (effects, kinds) if part)
    return Figure("Changed answers", f"{len(comparison.changed):,} of {len(comparison):,}", notes)


def _sqnr(drift: Report) -> Figure | None:
    if "sqnr_db" not in drift:
        return None
    return Figure("SQNR of the logits", decibel(drift["sqnr_db"]), _note("cosine {:.4f}", drift.get("cosine_mean")))


def _largest_error(drift: Report) -> Figure | None:
    if drift.get("max_abs_error") is None:
        return None
    notes = _note("KL divergence {:.4f} nats on average", drift.get("kl_mean"))
    return Figure("Largest error of a probability", f"{drift['max_abs_error']:.3f}", notes)


def _calibration_error(drift: Report) -> Figure | None:
    before, after = drift.get("ece_reference"), drift.get("ece_candidate")
    if before is None or after is None:
        return None
    value = f"{percent(before)} → {percent(after)}"
    return Figure("Expected calibration error", value, ("how far confidence is from being right",))


def _size(report: Report) -> Figure:
    latency = report.get("latency_ms")
    notes = () if latency is None else (f"{milliseconds(latency)} an image",)
    return Figure("Size", megabytes(report["artifact"]["bytes"]), notes)


def _scheme_row(report: Report, is_this: bool) -> SchemeRow:
    drift = _part(report, "drift")
    return SchemeRow(
        scheme=str(report.get("scheme") or DASH),
        size=megabytes(report["artifact"]["bytes"]),
        latency=milliseconds(report.get("latency_ms")),
        top1=percent(drift.get("top1_candidate")),
        drop=points(drift.get("top1_drop_pp")),
        agreement=percent(drift.get("agreement_top1")),
        sqnr=decibel(drift["sqnr_db"]) if "sqnr_db" in drift else DASH,
        verdict=verdict(report),
        is_this=is_this,
    )


def _images(comparison: Comparison) -> str:
    return f"{len(comparison):,} {'unlabelled' if comparison.true_classes is None else 'labelled'} images"


def _of_available(report: Report, comparison: Comparison) -> str:
    """How many images there were, where the run did not use them all."""
    available = _part(report, "sampling").get("available") or 0
    return f", of {available:,} in a seeded shuffle" if available > len(comparison) else ""


def _skipped(comparison: Comparison) -> str:
    count = len(comparison.candidate.skipped)
    return f"{count:,} more images, in no count" if count else ""


def _note(text: str, value: float | None) -> tuple[str, ...]:
    """The text with a value, where there is one."""
    return () if value is None else (_signed(text.format(value)),)


def _part(report: Report, key: str) -> Report:
    """A part of a report that may be missing or None."""
    return report.get(key) or {}


def _signed(text: str) -> str:
    """Minus signs as long as plus signs."""
    return text.replace("-", "−")
