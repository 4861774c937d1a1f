"""An artifact's description for people, as Markdown: what was measured, and nothing that nobody knows.

With front matter it is what Hugging Face calls a model card, see https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jinja2

from convert.quantization.schemes import SCHEMES
from convert.reporting.ci import markdown
from convert.reporting.conversion_figures import calibration_images, speed
from convert.reporting.described import Described
from convert.reporting.formatting import (
    Report,
    count,
    decibel,
    drift_rows,
    head_text,
    megabytes,
    number,
    percent,
    points,
    ranks_five,
    words,
)
from convert.reporting.sections import INTERVALS, MACHINE
from convert.statistics.verdict import PASS
from convert.system.installation import install_command_elsewhere
from edge_runtime import Card
from edge_runtime.console import printable
from edge_runtime.conventions import fit_text
from edge_runtime.custom_operators import COMPILED, COMPILED_FOR
from edge_runtime.specs import INDEPENDENT, TensorSpec

MARKDOWN, HUGGING_FACE = "markdown", "huggingface"
UNKNOWN = ("license", "datasets", "base_model")
"""Keys of a model card that a conversion cannot fill in."""
MOST_LABELS = 100
DIGITS = 6


def render(found: Described, form: str) -> str:
    """Return the description of an artifact in one of `FORMATS`, in UTF-8 whatever the names in it."""
    card, labels = found.card, found.labels
    assert card is not None
    assert labels is not None
    assert found.artifact is not None
    name = printable(found.artifact.name)
    text = _template().render(
        card=card,
        sha256=found.report["artifact"]["sha256"],
        verdict=None if found.report["gate"] is None else found.report["gate"]["verdict"],
        name=name,
        quoted=shlex.quote(name),
        install=install_command_elsewhere(),
        labels=labels if len(labels) <= MOST_LABELS else None,
        what=list(_what(found, card)),
        figures=_figures(found.report),
        measured=list(_measured(found.report, card)),
        limits=list(_limits(found.report, card)),
        ends=[_end("input", card.input), _end("output", card.output)],
        preprocessing=_preprocessing(card),
    )
    return FORMATS[form](found, card) + text


def front_matter(found: Described, card: Card) -> str:
    """Return what Hugging Face reads of a card, as YAML between dashes."""
    drift = found.report["drift"]
    known = {
        "library_name": "litert",
        "pipeline_tag": "image-classification",
        "tags": ["tflite", "image-classification", "irv2-edge", *_scheme_tags(card), printable(card.architecture)],
        **({"metrics": ["accuracy"]} if drift is not None and drift["labelled"] else {}),
        **({} if drift is None else {"model-index": [_results(drift, card)]}),
    }
    return "\n".join(["---", *_yaml(known), "---", "", ""])


FORMATS: dict[str, Callable[[Described, Card], str]] = {MARKDOWN: lambda *_: "", HUGGING_FACE: front_matter}
"""Format -> what stands in front of the text."""


def _scheme_tags(card: Card) -> list[str]:
    return [card.scheme, "quantized"] if card.scheme in SCHEMES and SCHEMES[card.scheme].rules else []


def _results(drift: Report, card: Card) -> dict[str, Any]:
    """Return an entry of `model-index`: what was measured, and on what, of which the manifest's hash is known."""
    kind, manifest = "labelled" if drift["labelled"] else "unlabelled", _build(card).get("validation_manifest_sha256")
    images = f"{count(drift['images'])} {kind} images" + (f", manifest SHA-256 {manifest}" if manifest else "")
    accuracies = [
        ("accuracy", f"{words(drift).row} accuracy", "top1_candidate"),
        *([("accuracy", "top-5 accuracy", "top5_candidate")] if ranks_five(drift) else []),
    ]
    metrics = [each for each in accuracies if drift[each[2]] is not None]
    metrics.append(("agreement", "agreement with the float network", "agreement_top1"))
    return {
        "name": printable(card.name),
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"type": "imagefolder", "name": images},
                "metrics": [{"type": kind, "name": name, "value": drift[key]} for kind, name, key in metrics],
            }
        ],
    }


def _yaml(value: Any) -> Iterator[str]:
    """Yield the lines of a value in block style; texts are quoted as in JSON, which is YAML."""
    for key, each in value.items() if isinstance(value, Mapping) else ((None, each) for each in value):
        begin = "-" if key is None else f"{key}:"
        if not isinstance(each, (Mapping, list)):
            yield f"{begin} {_scalar(each)}"
            continue
        lines = list(_yaml(each))
        if key is None:
            yield f"- {lines[0]}"
            lines = lines[1:]
        else:
            yield begin
        yield from (f"  {line}" for line in lines)


def _scalar(value: str | float) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"{round(value, DIGITS):.{DIGITS}f}".rstrip("0") + ("0" if value == round(value) else "")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convert.reporting"),
        autoescape=False,  # Markdown: every value goes through `markdown` or `printable`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown": markdown}
    return environment.get_template("model_card.md.j2")


def _what(found: Described, card: Card) -> Iterator[str]:
    """Yield what it is: the network, the file, where it was compiled, and what made it."""
    head = head_text(card.source.get("head", card.head), card.classes)
    scheme = SCHEMES[card.scheme].summary if card.scheme in SCHEMES else f"scheme {card.scheme}"
    size = megabytes(found.report["artifact"]["bytes"])
    yield f"An image classifier in one file of {size}: {card.architecture}, {head}; {scheme}."
    for operator in card.source.get(COMPILED_FOR, ()):
        hardware = COMPILED[operator].name if operator in COMPILED else operator
        yield f"Compiled for {hardware}; what was measured is the file that it was compiled from."
    if "recognized" in card.source:
        yield f"Converted from {card.source['recognized']}."


def _figures(report: Report) -> list[tuple[str, str]]:
    drift, latency = report["drift"], report.get("latency_ms")
    rows = [] if drift is None else drift_rows(drift)
    return [*rows, *([] if latency is None else [("time", speed(report))])]


def _measured(report: Report, card: Card) -> Iterator[str]:
    """Yield how each figure came about."""
    drift, calibration, environment = report["drift"], report.get("calibration"), report.get("environment")
    if drift is not None:
        apart = ", none of which it was calibrated with" if calibration is not None else ""
        kind = "labelled" if drift["labelled"] else "unlabelled"
        yield f"Both the float network and this file answered the same {count(drift['images'])} {kind} images{apart}."
        yield f"Intervals: {INTERVALS[drift['interval']]}."
        yield from _limits_of_gate(report)
    if (sqnr := card.source.get("keras_sqnr_db")) is not None:
        yield f"The float TFLite network agrees with the one in Keras to {decibel(sqnr)}."
    if calibration is not None:
        yield f"Calibrated on {calibration_images(calibration)}."
    if report.get("latency_ms") is not None and environment is not None:
        machine = ", ".join(text.format(environment[key]) for key, text in MACHINE.items() if key != "python")
        yield f"Time: median of one image on the CPU of one machine ({machine})."
    if card.versions:
        yield f"Made with {', '.join(f'{name} {version}' for name, version in sorted(card.versions.items()))}."


def _limits_of_gate(report: Report) -> Iterator[str]:
    limits = report["gate"]["limits"]
    if limits:
        agreement, drop = percent(limits["min_agreement"], 0), points(limits["max_drop_pp"])
        yield f"Required: at least {agreement} agreement, and on labelled images at most {drop} lost accuracy."


def _limits(report: Report, card: Card) -> Iterator[str]:
    """Yield what the figures do not say, and what the file cannot do."""
    drift, gate = report["drift"], report["gate"]
    if drift is None:
        yield "How far its answers are from the float network's was not measured."
    elif not drift["labelled"]:
        yield "Its accuracy is not known: the images that it was measured on have no labels."
    if gate is not None and gate["verdict"] != PASS:
        yield f"It did not pass its limits: {gate['verdict']}."
    if drift is not None:
        yield "The figures hold for images like those that it was measured on."
    if card.head == INDEPENDENT:
        yield "It knows its labels alone, and may name none."
    else:
        yield "It answers every picture with one of its labels, also a picture of something else."
    kept = report.get("float_layers") or (card.calibration or {}).get("float_layers", ())
    if kept:
        yield f"Computed in float: {', '.join(kept)}."
    for line in (card.calibration or {}).get("left_in_float", ()):
        yield f"Left in float: {line}."
    yield f"The oldest runtime known to run it is {card.minimum_runtime}."


def _end(name: str, tensor: TensorSpec) -> tuple[str, str]:
    quantization = "" if tensor.scale is None else f", scale {number(tensor.scale)}, zero point {tensor.zero_point}"
    return name, f"{tensor.name}, {tensor.dtype}, {tensor.encoding}{quantization}"


def _preprocessing(card: Card) -> str:
    """Return in words how pixels become the input."""
    spec = card.preprocessing
    colours = "grey" if spec.channels == 1 else spec.channel_order
    scaling = f"mean {' '.join(map(number, spec.mean))}, std {' '.join(map(number, spec.std))} in units of a pixel"
    return f"{spec.height}x{spec.width} {colours}, {scaling}, {fit_text(spec) or spec.geometry}, {spec.resize}"


def _build(card: Card) -> dict[str, Any]:
    build = card.source.get("build", {})
    return build if isinstance(build, dict) else {}
