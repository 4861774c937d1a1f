"""What the sections of the page say: a report's figures and facts in words.

A report of `irv2-drift` lacks what only a conversion knows, and one of a conversion lacks `reference` and `sampling`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convert.audit.islands import FloatIsland, island_lines
from convert.drift.comparison import Comparison
from convert.quantization.bias_range import RaisedScales
from convert.reporting.conversion_figures import (
    calibration_images,
    halves,
    layer_advice,
    most_accumulated,
    noisiest_layer,
    speed,
    speed_notes,
)
from convert.reporting.devices import device_rows
from convert.reporting.formatting import (
    Report,
    clear_agreement,
    count,
    decibel,
    error,
    flip_kinds,
    head_text,
    megabytes,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
    prepared_text,
    ranks_five,
    sqnr,
    sqnr_name,
    words,
)
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from edge_runtime.specs import SOFTMAX

MACHINE = {"python": "Python {}", "system": "{}", "machine": "{}", "cores": "{} cores"}
"""Key of a report's environment -> its text."""
INTERVALS = {
    "fixed": "95%, for a number of images that was fixed in advance",
    "anytime": "95%, valid after every image, so that the run could stop early",
}
"""Value of `drift.interval` -> its text."""
CALIBRATION_ERROR = "Expected calibration error"
PROBABILITY_TERMS = ("Largest probability error", "KL divergence")


@dataclass(frozen=True)
class VerdictStyle:
    """How a verdict looks and reads.

    `tone` is the class of the style sheet that colours it; `icon` is an SVG path in a box of 24, so that colour is not
    needed to tell verdicts apart.
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

WARNING = replace(VERDICTS[INCONCLUSIVE], word="Warning")


@dataclass(frozen=True)
class Figure:
    """A key figure: its title, its value, notes below it, and the `explanations` of what it and its notes are."""

    title: str
    value: str
    notes: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()


def verdict(report: Report) -> VerdictStyle:
    """Return the style of the gate's verdict."""
    return VERDICTS[None if report["gate"] is None else report["gate"]["verdict"]]


def reasons(report: Report) -> list[tuple[VerdictStyle, str]]:
    """Return for each reason the verdict that it begins with, and the rest of it; warnings come first."""
    split = [text.partition(": ") for text in (report["gate"] or {"reasons": ()})["reasons"]]
    warnings = [(WARNING, text) for text in report.get("warnings", ())]
    return [*warnings, *((VERDICTS[word], rest) for word, _, rest in split)]


def key_figures(report: Report) -> list[Figure]:
    """Return the key figures that this report has, the most important first."""
    latency = report.get("latency_ms")
    notes = () if latency is None else (speed(report), *speed_notes(report))
    terms = ("Size", "Time") if notes else ("Size",)
    size = Figure("Size", megabytes(report["artifact"]["bytes"]), notes, terms)
    drift = report["drift"]
    if drift is None:
        return [size]
    agreement = (percent_interval(drift["agreement_ci95"]), *_second_agreement(drift), *_clear(drift))
    cosine = f"cosine similarity {drift['cosine_mean']:.4f}"
    divergence = f"mean KL divergence {drift['kl_mean']:.4f} nats"
    return [
        *_top_k(drift, 1),
        Figure(f"{words(drift).rank} agreement", percent(drift["agreement_top1"]), agreement, _agreement_terms(drift)),
        _changed(drift),
        *(_top_k(drift, 5) if ranks_five(drift) else ()),
        Figure(sqnr_name(drift), sqnr(drift), (cosine, *_answers_sqnr(drift)), _sqnr_terms(drift)),
        Figure("Largest probability error", error(drift["max_abs_error"]), (divergence,), PROBABILITY_TERMS),
        *_calibration_error(drift),
        size,
    ]


def summary(report: Report) -> list[str]:
    """Return what was compared, in short pieces for one line."""
    artifact, drift = report["artifact"], report["drift"]
    measured = [] if drift is None else [f"{_images(drift)} of {count(drift['classes'])} classes"]
    return [Path(artifact["path"]).name, megabytes(artifact["bytes"]), *measured]


def facts(report: Report, comparison: Comparison | None, folders: bool) -> list[tuple[str, str]]:
    """Return what was compared, as terms and values; without `folders` only names of files, no paths."""

    def place(path: str) -> str:
        return path if folders else Path(path).name

    artifact, reference, drift = report["artifact"], report.get("reference"), report["drift"]
    machine = [text.format(report["environment"][key]) for key, text in MACHINE.items()]
    calibration = report.get("calibration")
    versions, timings = report["environment"]["versions"], report.get("timings_s", {})
    found = [
        ("Artifact", place(artifact["path"])),
        ("SHA-256", artifact["sha256"]),
        ("Scheme", report.get("scheme", "")),
        ("Head", _head(report)),
        ("Preprocessing", prepared_text(report["preprocessing"]) if report.get("preprocessing") else ""),
        ("Reference", "" if reference is None else place(reference["path"])),
        ("Its SHA-256", "" if reference is None else reference["model_sha256"]),
        ("Images", "" if drift is None else f"{_images(drift)}{_of_available(report)}"),
        ("Image folder", str(common_folder(comparison.reference.paths)) if comparison is not None and folders else ""),
        ("Unreadable", "" if comparison is None else _skipped(comparison)),
        ("Network", report.get("source", {}).get("recognized", "")),
        ("In front of it", "; ".join(report.get("source", {}).get("front", ()))),
        ("Through TFLiteConverter", "; ".join(report.get("source", {}).get("slow_layers", ()))),
        ("Calibration", "" if calibration is None else calibration_images(calibration)),
        ("Split-half difference", "" if calibration is None else halves(calibration) or ""),
        ("Noisiest layer", "; ".join([noisiest_layer(report) or "", *layer_advice(report)])),
        ("Lowest accumulated", most_accumulated(report) or ""),
        ("Layers in float", ", ".join(report.get("float_layers", ()))),
        ("Left in float", "; ".join(_islands(report))),
        ("Scales raised", _raised(report)),
        ("Intervals", "" if drift is None else INTERVALS[drift["interval"]]),
        ("Measured on", ", ".join(machine)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Run time", ", ".join(f"{stage} {seconds:,.1f} s" for stage, seconds in timings.items())),
    ]
    return [(term, value) for term, value in found if value]


def device(report: Report) -> list[tuple[str, str]]:
    """Return what the device that answered says of itself, as terms and values; none where this host answered."""
    return [(name.capitalize(), text) for name, text in device_rows(report.get("device", {}))]


def schemes(report: Report, others: Sequence[Report]) -> list[Report]:
    """Return the reports of all schemes of the run, the smallest artifact first; none where there is only one."""
    return sorted([report, *others], key=lambda each: int(each["artifact"]["bytes"])) if others else []


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _second_agreement(drift: Report) -> list[str]:
    if drift["agreement_top5"] is None:
        return [f"{percent(drift['agreement_labels'])} of each label"]
    return [f"{percent(drift['agreement_top5'])} within the top 5"] if ranks_five(drift) else []


def _clear(drift: Report) -> list[str]:
    return [f"{name}: {text}" for name, text in clear_agreement(drift)]


def _agreement_terms(drift: Report) -> tuple[str, ...]:
    second = ("Within the top 5",) if ranks_five(drift) else ()
    clear = ("Lead of 10 points",) if _clear(drift) else ()
    return (*words(drift).terms, "95% interval", *second, *clear)


def _sqnr_terms(drift: Report) -> tuple[str, ...]:
    stepped = ("Answers in steps",) if drift.get("answer_step") else ()
    return ("SQNR", "Logits", *stepped, "Cosine similarity")


def _answers_sqnr(drift: Report) -> list[str]:
    """Return the SQNR of answers in steps beside that of the logits."""
    of_answers = drift.get("answers_sqnr_db")
    return (
        [] if of_answers is None else [f"{decibel(of_answers)} of answers in steps of {percent(drift['answer_step'])}"]
    )


def _top_k(drift: Report, k: int) -> list[Figure]:
    """Return top-k accuracy of both models, if there are labels."""
    if not drift["labelled"]:
        return []
    value = f"{percent(drift[f'top{k}_reference'])} → {percent(drift[f'top{k}_candidate'])}"
    notes = [f"drop {points(drift[f'top{k}_drop_pp'])} {points_interval(drift[f'top{k}_drop_ci95_pp'])}"]
    terms = ["Accuracy", "Drop", "95% interval"] if k == 1 else [f"Top {k}"]
    if k == 1 and drift["top1_drop_p_value"] is not None:
        terms += ["Bootstrap", "McNemar's p"]
        notes.append(f"bootstrap {points_interval(drift['top1_drop_bootstrap95_pp'])}")
        notes.append(f"exact McNemar p = {p_value(drift['top1_drop_p_value'])}")
    return [Figure(f"{words(drift).rank if k == 1 else f'Top-{k}'} accuracy", value, tuple(notes), tuple(terms))]


def _changed(drift: Report) -> Figure:
    changed = drift["flips_near_tie"] + drift["flips_confident"]
    notes, terms = [flip_kinds(drift["flips_near_tie"], drift["flips_confident"])], ["Near tie, confident"]
    if drift["labelled"]:
        terms.insert(0, "Lost, gained, still wrong")
        lost, gained = drift["top1_lost"], drift["top1_gained"]
        notes.insert(0, f"{count(lost)} lost, {count(gained)} gained, {count(changed - lost - gained)} still wrong")
    return Figure("Changed answers", f"{count(changed)} of {count(drift['images'])}", tuple(notes), tuple(terms))


def _calibration_error(drift: Report) -> list[Figure]:
    if not drift["labelled"]:
        return []
    value = f"{percent(drift['ece_reference'])} → {percent(drift['ece_candidate'])}"
    return [Figure(CALIBRATION_ERROR, value, ("mean gap between confidence and accuracy",), (CALIBRATION_ERROR,))]


def _head(report: Report) -> str:
    """Return what the network ends in, unless it is a softmax from the start."""
    drift = report["drift"]
    head = report.get("head", SOFTMAX if drift is None else drift.get("head", SOFTMAX))
    return "" if head == SOFTMAX else head_text(head, 2 if drift is None else drift["classes"])


def _islands(report: Report) -> list[str]:
    """Return a line for each kind of float island of a conversion."""
    return island_lines(FloatIsland.from_json(value) for value in report.get("float_islands", ()))


def _raised(report: Report) -> str:
    """Return how many filters had their scale raised for their bias."""
    return str(RaisedScales(**report.get("raised_scales", {})))


def _images(drift: Report) -> str:
    return f"{count(drift['images'])} {'labelled' if drift['labelled'] else 'unlabelled'} images"


def _of_available(report: Report) -> str:
    """Return how many images there were, where the run did not use all of them."""
    available = report["sampling"]["available"] if "sampling" in report else 0
    return f", of {count(available)} in a seeded shuffle" if available > report["drift"]["images"] else ""


def _skipped(comparison: Comparison) -> str:
    skipped = len(comparison.candidate.skipped)
    return f"{count(skipped)} more images, not counted" if skipped else ""
