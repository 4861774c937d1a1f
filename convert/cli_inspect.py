"""`irv2-inspect`: what is in a `.tflite`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.commands import one_line_errors
from convert.inspection import Inspection, inspect_file, to_json
from edge_runtime.artifact import Artifact

MOST_FLOAT_OPERATORS_SHOWN = 12


@click.command(context_settings={"max_content_width": 100})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@one_line_errors
def inspect(model: Path, as_json: bool) -> None:
    """Show card, labels, operators and dtypes of MODEL, a .tflite file."""
    inspection, artifact = inspect_file(model)
    if as_json:
        click.echo(json.dumps(to_json(inspection, artifact), indent=1))
    else:
        _show(Console(), model, inspection, artifact)


def _show(console: Console, model: Path, inspection: Inspection, artifact: Artifact | None) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _facts(model, inspection, artifact).items():
        table.add_row(key, escape(value))
    console.print(table)


def _facts(model: Path, inspection: Inspection, artifact: Artifact | None) -> dict[str, str]:
    facts = {"file": f"{model}, {inspection.bytes:,} bytes"}
    if artifact is None:
        facts["card"] = "none: not made by irv2-convert"
    else:
        card = artifact.card
        facts["card"] = f"{card.name}, {card.architecture}, scheme {card.scheme}, checksums hold"
        facts["labels"] = ", ".join(artifact.labels[:10]) + (", ..." if len(artifact.labels) > 10 else "")
        facts["preprocessing"] = ", ".join(f"{key} {value}" for key, value in card.preprocessing.to_json().items())
        facts["drift"] = "not measured" if card.drift is None else _drift(card.drift)
    for name, end in inspection.ends.items():
        quantization = "" if end["scale"] is None else f", scale {end['scale']:.6g}, zero point {end['zero_point']}"
        facts[name] = f"{end['dtype']} {end['shape']}{quantization}"
    facts["operators"] = _counts(inspection.operators)
    facts["computed in"] = _counts(inspection.compute)
    facts["weights"] = _counts(inspection.weights)
    floats = inspection.float_operators
    facts["float operators"] = f"{len(floats)}: " + ", ".join(
        name.split(" ")[0] for name in floats[:MOST_FLOAT_OPERATORS_SHOWN]
    )
    facts["signatures"] = ", ".join(inspection.signatures) or "none"
    facts["oldest runtime"] = inspection.minimum_runtime
    return facts


def _drift(summary: dict[str, Any]) -> str:
    return f"{summary['verdict']}: top-1 agreement {summary['agreement_top1']:.2%} on {summary['images']} images"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.items()) or "none"
