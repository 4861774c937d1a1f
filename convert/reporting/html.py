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
from convert.reporting import charts, classes, conversion_figures, explanations, formatting, gauges, sections
from convert.reporting.devices import FLEET_COLUMNS, fleet_errors, fleet_remarks, fleet_rows, heading, split_address
from convert.reporting.formatting import Report, count, decibel, error, percent
from convert.reporting.names import breakable, distinguished
from convert.system.temporary import write_atomically
from edge_runtime.console import printable
from edge_runtime.preprocess import FORMATS, MAX_PIXELS, to_rgb

FILTERS = (
    *("attribution_cells", "count", "decibel", "gain", "megabytes", "number_of"),
    *("milliseconds", "percent", "points", "probability"),
)
"""What the template takes from `convert.reporting.formatting`."""
MOST_FLIPS = 36
MOST_PAIRS, MOST_FOLDED_PAIRS = 12, 500
"""Shown at once, and on demand; more are counted."""
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
    return template("report.html.j2").render(
        report=report,
        title=Path(report["artifact"]["path"]).name,
        names=names,
        words=formatting.words(report["drift"]),
        verdict=sections.verdict(report),
        reasons=sections.reasons(report),
        explain=explanations.explained(*names),
        gauges=gauges.gauges(report),
        summary=sections.summary(report),
        figures=sections.key_figures(report),
        facts=sections.facts(report, comparison, folders=thumbnails),
        fleet_columns=FLEET_COLUMNS,
        fleet_rows=fleet_rows(report),
        fleet_errors=fleet_errors(report),
        fleet_remarks=fleet_remarks(report),
        device=sections.device(report),
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


def template(name: str) -> jinja2.Template:
    """Return a page's template, which escapes every value, and has the filters of `formatting`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convert.reporting"),
        autoescape=True,
        finalize=_readable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formatting, name) for name in FILTERS}
    environment.filters |= {"verdict": sections.verdict, "style": sections.VERDICTS.get, "breakable": breakable}
    environment.filters |= {"heading": heading, "split_address": split_address}
    return environment.get_template(name)


def _readable(value: object) -> object:
    """Return text without control characters and lone surrogates; markup is our own and stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _measured(report: Report, comparison: Comparison, names: tuple[str, str], thumbnails: bool) -> dict[str, Any]:
    """Return what the sections show that need the predictions of both networks."""
    pairs, groups = changed_pairs(comparison), classes.class_groups(report, comparison)
    few_classes = len(comparison.labels) <= classes.FEW_CLASSES
    matrix = confusion_matrix(comparison) if pairs and few_classes else None
    return {
        "measured": comparison,
        "changed": len(comparison.changed),
        "flips": _flips(report["drift"]["flips"][:MOST_FLIPS], comparison, thumbnails),
        "thumbnails": thumbnails,
        "matrix": None if matrix is None else matrix.tolist(),
        "pairs": pairs[:MOST_PAIRS],
        "folded_pairs": pairs[MOST_PAIRS:][:MOST_FOLDED_PAIRS],
        "pairs_left_out": len(pairs[MOST_PAIRS:][MOST_FOLDED_PAIRS:]),
        "groups": groups,
        "rates": classes.have_rates(groups),
        "pairs_known": any(each.changes for group in groups for each in group.shown),
        "scatter": _scatter(comparison, names),
        "most_points": charts.MOST_POINTS if len(comparison) > charts.MOST_POINTS else None,
    }


def _flips(flips: Sequence[Report], comparison: Comparison, thumbnails: bool) -> list[dict[str, Any]]:
    """Return flips with their effect, the name of their image in two parts, and the image, if it can be read."""
    names = [_name(Path(flip["image"]), comparison, thumbnails) for flip in flips]
    return [
        {
            **flip,
            "effect": _effect(flip),
            "name": name,
            "parts": parts,
            "picture": thumbnail(Path(flip["image"])) if thumbnails else None,
        }
        for flip, name, parts in zip(flips, names, distinguished(names), strict=True)
    ]


def _effect(flip: Report) -> str:
    effect_of = {flip["candidate"]["label"]: "gained", flip["reference"]["label"]: "lost"}
    return effect_of.get(flip["label"], "still wrong")


def _name(path: Path, comparison: Comparison, folders: bool) -> str:
    """Return the name of an image, with `folders` as seen from the folder that all images share."""
    return os.path.relpath(path, sections.common_folder(comparison.reference.paths)) if folders else path.name


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
