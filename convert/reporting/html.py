"""The report as one HTML page that opens anywhere, offline: the verdict first, then what changed.

Figures come from the report (`report_json.to_json`); what it does not hold is counted from the predictions. The page
has no script and loads nothing. Every value goes through `printable` and jinja2's escaping, so that a hostile file
name stays text. How the page looks is in `templates/`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from convert.drift.comparison import Comparison, Flip, by_class, changed_pairs, confidences, confusion_matrix, flips
from convert.reporting import charts, formatting, sections
from convert.reporting.formatting import Report, count, decibel, error, percent
from convert.reporting.gauges import gauges
from convert.reporting.thumbnails import thumbnail
from convert.system.atomic import write_atomically
from edge_runtime.console import printable

SUFFIX = ".report.html"
FILTERS = (
    "attribution_cells",
    "count",
    "decibel",
    "gain",
    "megabytes",
    "milliseconds",
    "percent",
    "points",
    "probability",
)
"""What the template takes from `convert.reporting.formatting`."""
MOST_FLIPS = 36
MOST_PAIRS = 12
MOST_CLASSES = 30
"""With more classes no matrix is drawn, and only the classes that lost most have bars."""


@dataclass(frozen=True)
class ShownFlip:
    """A changed answer, the name of its image on the page, and the image as a `data:` URI if there is one."""

    flip: Flip
    name: str
    picture: str | None


def render(
    report: Report, comparison: Comparison | None, others: Sequence[Report] = (), thumbnails: bool = True
) -> str:
    """Render the page of one artifact.

    Args:
        report: the artifact's report, see `report_json.to_json`. Sections whose figures it lacks are left out.
        comparison: the predictions that the report was made from; None where drift was not measured.
        others: reports of the other schemes converted in the same run, for the table of schemes.
        thumbnails: show the images whose answer changed, and paths; without them only file names are shown.

    Returns:
        HTML that can be encoded in UTF-8, whatever the names in it.
    """
    names = ("float", printable(str(report["scheme"]))) if report.get("scheme") else ("the reference", "the candidate")
    return _template().render(
        report=report,
        title=Path(report["artifact"]["path"]).name,
        names=names,
        verdict=sections.verdict(report),
        reasons=sections.reasons(report),
        gauges=gauges(report),
        summary=sections.summary(report, comparison),
        figures=sections.key_figures(report, comparison),
        facts=sections.facts(report, comparison, folders=thumbnails),
        schemes=sections.schemes(report, others),
        attempts=report.get("recovery") or (),
        attribution=report.get("blame") or (),
        layers=_layers(report),
        calibration=_calibration(report),
        **({"measured": None} if comparison is None else _measured(comparison, names, thumbnails)),
    )


def write(page: str, path: Path) -> Path:
    """Write a page, whole or not at all.

    Raises:
        ConvertError: it could not be written.
    """
    write_atomically(path, lambda partial: partial.write_text(page, "utf-8"))
    return path


def beside(artifact: Path) -> Path:
    """Return the path of an artifact's page: `<artifact>.report.html`."""
    return artifact.with_name(artifact.name + SUFFIX)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convert.reporting"),
        autoescape=True,
        finalize=_readable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formatting, name) for name in FILTERS}
    environment.filters |= {"verdict": sections.verdict, "style": sections.VERDICTS.get}
    return environment.get_template("report.html.j2")


def _readable(value: object) -> object:
    """Return text without control characters and lone surrogates; markup is our own and stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _measured(comparison: Comparison, names: tuple[str, str], thumbnails: bool) -> dict[str, Any]:
    """Return what the sections show that need the predictions of both networks."""
    pairs, few_classes = changed_pairs(comparison), len(comparison.labels) <= MOST_CLASSES
    worst = sorted(by_class(comparison), key=lambda each: each.badness, reverse=True)
    return {
        "measured": comparison,
        "changed": len(comparison.changed),
        "flips": [_shown(flip, comparison, thumbnails) for flip in flips(comparison, MOST_FLIPS)],
        "thumbnails": thumbnails,
        "matrix": confusion_matrix(comparison).tolist() if pairs and few_classes else None,
        "pairs": pairs[:MOST_PAIRS],
        "pairs_left_out": len(pairs[MOST_PAIRS:]),
        "classes": worst[:MOST_CLASSES],
        "classes_left_out": len(worst[MOST_CLASSES:]),
        "scatter": _scatter(comparison, names),
        "most_points": charts.MOST_POINTS if len(comparison) > charts.MOST_POINTS else None,
    }


def _shown(flip: Flip, comparison: Comparison, thumbnails: bool) -> ShownFlip:
    if not thumbnails:
        return ShownFlip(flip, flip.path.name, None)
    root = sections.common_folder(comparison.reference.paths)
    return ShownFlip(flip, os.path.relpath(flip.path, root), thumbnail(flip.path))


def _scatter(comparison: Comparison, names: tuple[str, str]) -> Markup:
    reference, candidate, changed = confidences(comparison)
    description = (
        f"Scatter plot of {count(len(comparison))} images: the probability that {names[0]} gives its answer against "
        f"the probability that {names[1]} gives the same class. {count(int(changed.sum()))} answers changed; the mean "
        f"absolute difference is {error(float(abs(candidate - reference).mean()))}."
    )
    return charts.confidence_scatter(reference, candidate, changed, description)


def _layers(report: Report) -> dict[str, Any] | None:
    """Return SQNR by depth, and number and figures of the lowest layers; None where no layer was measured."""
    layers = report.get("layers") or []
    sqnr_db = [layer.get("sqnr_db") for layer in layers]
    lowest = [(index + 1, layers[index]) for index in charts.lowest_layers(sqnr_db)]
    if not lowest:
        return None
    number, layer = lowest[0]
    description = (
        f"Line chart of the SQNR after each of {count(len(layers))} layers. The lowest is {decibel(layer['sqnr_db'])}, "
        f"in layer {number}, {printable(str(layer.get('name') or 'unnamed'))}."
    )
    return {"chart": charts.depth_profile(sqnr_db, description), "lowest": lowest, "count": len(layers)}


def _calibration(report: Report) -> dict[str, Any] | None:
    """Return the calibrator and how the ranges converged; None where the report has neither."""
    calibration = report.get("calibration") or {}
    points = [point for point in calibration.get("convergence") or () if point.get("range_ratio") is not None]
    if not calibration.get("calibrator") and len(points) < 2:
        return None
    chart = _convergence(points) if len(points) >= 2 else None
    return {"calibrator": calibration.get("calibrator"), "images": calibration.get("images"), "chart": chart}


def _convergence(points: Sequence[Report]) -> Markup:
    images, ratios = [point["images"] for point in points], [point["range_ratio"] for point in points]
    description = (
        f"Line chart: after {count(images[0])} images the activation ranges are {percent(ratios[0], 1)} of the final "
        f"ones, after {count(images[-1])} images {percent(ratios[-1], 1)}."
    )
    return charts.convergence(images, ratios, description)
