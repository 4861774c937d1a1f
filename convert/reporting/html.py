"""The report as one HTML page that opens anywhere, offline: the verdict first, then what changed.

Figures come from the report (`Outcome.to_json`); what it does not hold is counted from the predictions. The page
has no script and loads nothing. Every value goes through `printable` and jinja2's escaping, so that a hostile file
name stays text. How the page looks is in `templates/`.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image, ImageOps

from convert.drift.comparison import Comparison, changed_pairs, confidences, confusion_matrix
from convert.reporting import charts, conversion_figures, formatting, sections
from convert.reporting.devices import FLEET_COLUMNS, fleet_errors, fleet_remarks, fleet_rows
from convert.reporting.formatting import Report, count, decibel, error, percent
from convert.system.temporary import write_atomically
from edge_runtime.console import printable
from edge_runtime.preprocess import FORMATS, MAX_PIXELS, to_rgb

FILTERS = (
    *("attribution_cells", "count", "decibel", "gain", "megabytes"),
    *("milliseconds", "percent", "points", "probability"),
)
"""What the template takes from `convert.reporting.formatting`."""
MOST_FLIPS = 36
MOST_PAIRS = 12
MOST_CLASSES = 30
"""With more classes no matrix is drawn, and only the classes that lost most have bars."""
THUMBNAIL_SIDE, THUMBNAIL_QUALITY = 224, 82
"""Longest side in pixels, shown at half of it so that it is sharp on a dense display; quality of its WebP file."""


def render(
    report: Report, comparison: Comparison | None, others: Sequence[Report] = (), thumbnails: bool = True
) -> str:
    """Render the page of one artifact as HTML that can be encoded in UTF-8, whatever the names in it.

    Args:
        report: the artifact's report, see `Outcome.to_json` and `convert.drift.run.reported`.
        comparison: the predictions that the report was made from; sections that need them are left out if it is None.
        others: reports of the other schemes converted in the same run, for the table of schemes.
        thumbnails: show the images whose answer changed, and paths; without them only file names are shown.
    """
    names = ("float", printable(report["scheme"])) if "scheme" in report else ("the reference", "the candidate")
    return _template().render(
        report=report,
        title=Path(report["artifact"]["path"]).name,
        names=names,
        words=formatting.words(report["drift"]),
        verdict=sections.verdict(report),
        reasons=sections.reasons(report),
        gauges=sections.gauges(report),
        summary=sections.summary(report),
        figures=sections.key_figures(report),
        facts=sections.facts(report, comparison, folders=thumbnails),
        fleet_columns=FLEET_COLUMNS,
        fleet_rows=fleet_rows(report),
        fleet_errors=fleet_errors(report),
        fleet_remarks=fleet_remarks(report),
        schemes=sections.schemes(report, others),
        attempts=report.get("recovery", ()),
        attribution=report["blame"],
        layers=_layers(report),
        noisiest=conversion_figures.noisiest_layer(report),
        halves=None if report.get("calibration") is None else conversion_figures.halves(report["calibration"]),
        calibration=_calibration(report),
        **({"measured": None} if comparison is None else _measured(report, comparison, names, thumbnails)),
    )


def write(page: str, path: Path) -> Path:
    """Write a page, whole or not at all; a `ConvertError` if it cannot be written."""
    write_atomically(path, lambda partial: partial.write_text(page, "utf-8"))
    return path


def beside(artifact: Path) -> Path:
    """Return the path of an artifact's page: `<artifact>.report.html`."""
    return artifact.with_name(f"{artifact.name}.report.html")


def thumbnail(path: Path) -> str | None:
    """Return an image as the `data:` URI of a WebP file, rotated as its EXIF data says; None where it cannot be read.

    An image smaller than `THUMBNAIL_SIDE` keeps its size. Location, date and camera are left out.
    """
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS or image.width * image.height > MAX_PIXELS:
                return None
            image.draft(
                "RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE)
            )  # a large JPEG is decoded at a fraction of its size
            upright = to_rgb(ImageOps.exif_transpose(image))
    except Exception:  # on damaged files Pillow raises anything; the page does without the image
        return None
    upright.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    upright.save(file, "WEBP", quality=THUMBNAIL_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


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


def _measured(report: Report, comparison: Comparison, names: tuple[str, str], thumbnails: bool) -> dict[str, Any]:
    """Return what the sections show that need the predictions of both networks."""
    pairs, few_classes = changed_pairs(comparison), len(comparison.labels) <= MOST_CLASSES
    matrix = confusion_matrix(comparison) if pairs and few_classes else None
    classes = [{**each, "gain": _gain(each)} for each in report["drift"]["per_class"]]
    worst = sorted(classes, key=lambda each: (each["gain"], round(each["images"] * (each["agreement"] - 1))))
    return {
        "measured": comparison,
        "changed": len(comparison.changed),
        "flips": [_shown(flip, comparison, thumbnails) for flip in report["drift"]["flips"][:MOST_FLIPS]],
        "thumbnails": thumbnails,
        "matrix": None if matrix is None else matrix.tolist(),
        "pairs": pairs[:MOST_PAIRS],
        "pairs_left_out": len(pairs[MOST_PAIRS:]),
        "classes": worst[:MOST_CLASSES],
        "classes_left_out": len(worst[MOST_CLASSES:]),
        "scatter": _scatter(comparison, names),
        "most_points": charts.MOST_POINTS if len(comparison) > charts.MOST_POINTS else None,
    }


def _shown(flip: Report, comparison: Comparison, thumbnails: bool) -> dict[str, Any]:
    """Return a flip with its effect, the name of its image, and the image as a `data:` URI, if it can be read."""
    path = Path(flip["image"])
    effect_of = {flip["candidate"]["label"]: "gained", flip["reference"]["label"]: "lost"}
    shown = {**flip, "effect": effect_of.get(flip["label"], "still wrong"), "name": path.name, "picture": None}
    if thumbnails:
        root = sections.common_folder(comparison.reference.paths)
        shown |= {"name": os.path.relpath(path, root), "picture": thumbnail(path)}
    return shown


def _gain(of_class: Report) -> int:
    """Return how many more images of a class the candidate gets right; 0 without labels."""
    if of_class["top1_reference"] is None:
        return 0
    gain: int = round(of_class["images"] * (of_class["top1_candidate"] - of_class["top1_reference"]))
    return gain


def _scatter(comparison: Comparison, names: tuple[str, str]) -> Markup:
    reference, candidate, changed = confidences(comparison)
    same = formatting.WORDS[comparison.reference.head].same
    description = (
        f"Scatter plot of {count(len(comparison))} images: the probability that {names[0]} gives its answer against "
        f"the probability that {names[1]} gives {same}. {count(int(changed.sum()))} answers changed; the mean "
        f"absolute difference is {error(float(abs(candidate - reference).mean()))}."
    )
    return charts.confidence_scatter(reference, candidate, changed, description)


def _layers(report: Report) -> dict[str, Any] | None:
    """Return SQNR by depth, and number and figures of the lowest layers; None where no layer was measured."""
    layers = report.get("layers", ())
    sqnr_db = [layer["sqnr_db"] for layer in layers]
    lowest = [(index + 1, layers[index]) for index in charts.lowest_layers(sqnr_db)]
    if not lowest:
        return None
    number, layer = lowest[0]
    description = (
        f"Line chart of the SQNR after each of {count(len(layers))} layers. The lowest is {decibel(layer['sqnr_db'])}, "
        f"in layer {number}, {printable(layer['name'])}."
    )
    return {"chart": charts.depth_profile(sqnr_db, description), "lowest": lowest, "count": len(layers)}


def _calibration(report: Report) -> dict[str, Any] | None:
    """Return the calibrator and how the ranges converged; None where the scheme does not calibrate."""
    calibration = report.get("calibration")
    if calibration is None:
        return None
    images, ratios = ([point[key] for point in calibration["convergence"]] for key in ("images", "range_ratio"))
    if len(images) < 2:
        return {**calibration, "chart": None}
    description = (
        f"Line chart: after {count(images[0])} images the activation ranges are {percent(ratios[0], 1)} of the final "
        f"ones, after {count(images[-1])} images {percent(ratios[-1], 1)}."
    )
    return {**calibration, "chart": charts.convergence(images, ratios, description)}
