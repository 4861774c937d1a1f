"""The report as one HTML page that opens anywhere, offline: the verdict first, then what changed.

Figures come from the report (`report.to_json`); what it does not hold is counted from the answers. The page
has no script and asks for nothing. Every value goes through `printable` and jinja2's escaping, so that the name of a
file can only be read. How the page looks is in `templates/`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from convert.drift import comparison as counts
from convert.drift.comparison import Comparison, Flip
from convert.reporting import charts, formatting
from convert.reporting.formatting import Report
from convert.reporting.gauges import gauges
from convert.reporting.thumbnails import thumbnail
from convert.system.atomic import write_atomically
from edge_runtime.console import printable

SUFFIX = ".report.html"
MOST_FLIPS = 36
MOST_PAIRS = 12
MOST_CLASSES = 30
"""Of more classes no matrix is drawn, and only those that lost most have bars."""


@dataclass(frozen=True)
class ShownFlip:
    """A changed answer, what its picture is called on the page, and the picture as a `data:` URI if there is one."""

    flip: Flip
    name: str
    picture: str | None


@dataclass(frozen=True)
class LayerRow:
    """A layer of the network, for the table of the lowest SQNR; `number` counts from 1 in the order of execution."""

    number: int
    name: str
    operator: str
    sqnr: str
    range_use: str
    saturation: str


def render(
    report: Report, comparison: Comparison | None, others: Sequence[Report] = (), thumbnails: bool = True
) -> str:
    """The page of one artifact.

    Args:
        report: of the artifact, as `report.to_json` gives it. Sections whose figures it lacks are left out.
        comparison: the answers that the report was made from; None where drift was not measured.
        others: reports of the other schemes converted in the same run, for the table of schemes.
        thumbnails: show the pictures whose answer changed, and where files lie; without them only their names stay.

    Returns:
        HTML that can be encoded in UTF-8, whatever the names in it.
    """
    names = ("float", printable(str(report["scheme"]))) if report.get("scheme") else ("the reference", "the candidate")
    return _template().render(
        title=Path(report["artifact"]["path"]).name,
        names=names,
        verdict=formatting.verdict(report),
        reasons=formatting.reasons(report),
        gauges=gauges(report),
        summary=formatting.summary(report, comparison),
        figures=formatting.key_figures(report, comparison),
        facts=formatting.facts(report, comparison, folders=thumbnails),
        schemes=formatting.schemes(report, others),
        attempts=formatting.attempts(report),
        blame=formatting.blame(report),
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
    """Where an artifact's page goes: `<artifact>.report.html`."""
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
    environment.filters |= {"percent": formatting.percent, "count": "{:,}".format, "gain": formatting.gain}
    return environment.get_template("report.html.j2")


def _readable(value: object) -> object:
    """What may stand on the page: text without control characters and lone surrogates; markup is our own."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _measured(comparison: Comparison, names: tuple[str, str], thumbnails: bool) -> dict[str, Any]:
    """What the sections show that need the answers of both networks."""
    pairs, few_classes = counts.changed_pairs(comparison), len(comparison.labels) <= MOST_CLASSES
    worst = sorted(counts.by_class(comparison), key=lambda each: each.badness, reverse=True)
    return {
        "measured": comparison,
        "changed": len(comparison.changed),
        "flips": [_shown(flip, comparison, thumbnails) for flip in counts.flips(comparison, MOST_FLIPS)],
        "thumbnails": thumbnails,
        "matrix": counts.confusion_matrix(comparison).tolist() if pairs and few_classes else None,
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
    root = formatting.common_folder(comparison.reference.paths)
    return ShownFlip(flip, os.path.relpath(flip.path, root), thumbnail(flip.path))


def _scatter(comparison: Comparison, names: tuple[str, str]) -> Markup:
    reference, candidate, changed = counts.confidences(comparison)
    description = (
        f"Scatter plot of {len(comparison)} images: the probability that {names[0]} gives its answer, "
        f"against the one that {names[1]} gives the same class. {int(changed.sum())} answers changed; on average the "
        f"probability changes by {abs(candidate - reference).mean():.3f}."
    )
    return charts.confidence_scatter(reference, candidate, changed, description)


def _layers(report: Report) -> dict[str, Any] | None:
    """SQNR along the depth, and the layers in which it is lowest; None where no layer was measured."""
    layers = report.get("layers") or []
    sqnr_db = [layer.get("sqnr_db") for layer in layers]
    lowest = [_layer(index, layers[index]) for index in charts.lowest_layers(sqnr_db)]
    if not lowest:
        return None
    description = (
        f"Line chart of the SQNR after each of {len(layers)} layers. It is lowest, {lowest[0].sqnr}, "
        f"in layer {lowest[0].number}, {printable(lowest[0].name)}."
    )
    return {"chart": charts.depth_profile(sqnr_db, description), "lowest": lowest, "count": len(layers)}


def _layer(index: int, layer: Report) -> LayerRow:
    return LayerRow(
        number=index + 1,
        name=str(layer.get("name") or formatting.DASH),
        operator=str(layer.get("operator") or formatting.DASH),
        sqnr=formatting.decibel(layer["sqnr_db"]),
        range_use=formatting.percent(layer.get("range_use"), 1),
        saturation=formatting.percent(layer.get("saturation"), 3),
    )


def _calibration(report: Report) -> dict[str, Any] | None:
    """The calibrator, and how the ranges settled; None where the report has neither."""
    calibration = report.get("calibration") or {}
    points = [point for point in calibration.get("convergence") or () if point.get("range_ratio") is not None]
    if not calibration.get("calibrator") and len(points) < 2:
        return None
    chart = _convergence(points) if len(points) >= 2 else None
    return {"calibrator": calibration.get("calibrator"), "images": calibration.get("images"), "chart": chart}


def _convergence(points: Sequence[Report]) -> Markup:
    images, ratios = [point["images"] for point in points], [point["range_ratio"] for point in points]
    description = (
        f"Line chart: after {images[0]} images the ranges of the activations are {ratios[0]:.1%} of the final ones, "
        f"after {images[-1]} {ratios[-1]:.1%}."
    )
    return charts.convergence(images, ratios, description)
