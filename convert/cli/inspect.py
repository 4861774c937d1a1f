"""`irv2-inspect`: audit a `.tflite`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.audit import runtimes
from convert.audit.checks import ERROR, NOTE, WARNING, Finding, plural
from convert.audit.inspection import REQUIREMENTS, InspectedFile, Inspection, check_requirement, inspect_file, to_json
from convert.cli.console import standard_output
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import AUDITED, exit_codes
from convert.cli.pinned import pinned
from convert.cli.settings import ARTIFACT, NAME, find_artifact
from convert.cli.version import version_option
from convert.reporting.formatting import count, head_text, megabytes, percent, words
from edge_runtime.artifact import Artifact
from edge_runtime.card import Card
from edge_runtime.console import printable
from edge_runtime.custom_operators import COMPILED_FROM
from edge_runtime.delegates import DelegateRequest
from edge_runtime.errors import ArtifactError

NOT_MET = 3
MOST_PLACES_SHOWN = 3
STYLES = {ERROR: "bold red", WARNING: "yellow", NOTE: "dim"}


@click.command(context_settings={"max_content_width": 100}, epilog=exit_codes(AUDITED))
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--require",
    type=click.Choice(REQUIREMENTS),
    help="Exit with 3 unless MODEL computes in int8 (a float head is allowed) or, for all-int8, uses no floats at all.",
)
@click.option(
    "--target-runtime",
    metavar="NAME",
    help="Exit with 1 if this runtime cannot run MODEL: tflite-runtime-2.14, litert-1.0, ...",
)
@click.option(
    "--delegate",
    metavar="NAME[:key=value,...]",
    help="What --bisect compares with the CPU: gpu, npu, ..., or the path of a plugin library.",
)
@click.option(
    "--bisect",
    "bisects",
    is_flag=True,
    help="Run MODEL on --delegate and find the first operator that it computes wrongly; exit with 3 if there is one.",
)
@version_option
@one_line_errors
@pinned("model")
def inspect(
    model: Path | None,
    as_json: bool,
    require: str | None,
    target_runtime: str | None,
    delegate: str | None,
    bisects: bool,
) -> None:
    """Audit MODEL, any .tflite file: is it really int8, what is wrong with it, which runtimes can run it?

    Without MODEL it is the artifact that the nearest irv2.toml names.
    """
    if model is None:
        model = _artifact_of_settings()
    if bisects != (delegate is not None):
        raise click.UsageError("--delegate and --bisect belong together: pass both")
    if bisects and (require or target_runtime):
        raise click.UsageError("--bisect compares, it does not audit: leave --require and --target-runtime out")
    if target_runtime is not None:
        runtimes.check_target(target_runtime)
    file = inspect_file(model)
    if delegate is not None:
        sys.exit(_bisect(model, file, delegate, as_json))
    if as_json:
        click.echo(json.dumps(to_json(file, target_runtime), indent=1))
    else:
        _show(standard_output(), model, file)
    if target_runtime is not None:
        runtimes.refuse_newer(file.flatbuffer, target_runtime)
    unmet = None if require is None else check_requirement(file.inspection, require)
    if unmet is not None:
        click.echo(f"{click.get_current_context().find_root().info_name}: {require} was required: {unmet}", err=True)
        sys.exit(NOT_MET)
    if require is not None and not as_json:
        click.echo(f"{require} was required: it is")


def _artifact_of_settings() -> Path:
    artifact = find_artifact()
    if artifact is None:
        raise click.UsageError(f"MODEL is missing: pass a .tflite, or name one as {ARTIFACT} in {NAME}")
    click.echo(f"{ARTIFACT} of {NAME}: {printable(str(artifact))}", err=True)
    return artifact


def _bisect(model: Path, file: InspectedFile, delegate: str, as_json: bool) -> int:
    """Print how a delegate compares with the CPU, and return the exit code."""
    from convert.audit.bisect import bisect  # which loads an interpreter, and no audit needs one
    from convert.cli.bisect_report import bisection_lines

    found = bisect(model, file, DelegateRequest.parse(delegate))
    if as_json:
        click.echo(json.dumps({**to_json(file, None), "bisect": asdict(found)}, indent=1))
    else:
        click.echo("\n".join(map(printable, bisection_lines(model, found))))
    return 0 if found.first_wrong is None else NOT_MET


def _show(console: Console, model: Path, file: InspectedFile) -> None:
    """Print the verdict, the findings and the facts."""
    facts = _facts(model, file)
    console.print(escape(file.inspection.verdict.text), style="bold", highlight=False, soft_wrap=True)
    if file.inspection.findings:
        console.print()
        console.print(_findings(file.inspection.findings))
    console.print()
    table = Table(box=None, show_header=False, pad_edge=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, escape(value))
    console.print(table)


def _findings(findings: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(finding.severity, escape(finding.what), style=STYLES[finding.severity])
        table.add_row("", escape(_places(finding.where)))
        table.add_row("", escape(f"-> {finding.remedy}"))
    return table


def _places(places: tuple[str, ...]) -> str:
    """Return the first places, each shortened to the last parts of its names."""
    more = len(places) - MOST_PLACES_SHOWN
    shown = ", ".join(" ".join(map(_short, place.split(" "))) for place in places[:MOST_PLACES_SHOWN])
    return shown + (f" and {more} more, see --json" if more > 0 else "")


def _short(name: str) -> str:
    """Return the last two parts of the first path in a name; converters join the paths of fused layers with ";"."""
    return "/".join(name.split(";", maxsplit=1)[0].split("/")[-2:])


def _facts(model: Path, file: InspectedFile) -> dict[str, str]:
    inspection = file.inspection
    facts = {"file": f"{model}, {megabytes(inspection.bytes)}", **_card_facts(model, file.artifact)}
    facts |= _ends(inspection)
    facts["operators"] = _counts(inspection.operators)
    facts["computed in"] = _counts(inspection.compute)
    facts["weights"] = _counts(inspection.weights)
    for run in inspection.float_runs:
        if run["role"] == "head":
            facts["float head"] = ", ".join(name.split(" ")[0] for name in run["operators"])
    facts["signatures"] = ", ".join(inspection.signatures) or "none"
    facts["oldest runtime"] = f"{_oldest(inspection.oldest_runtime)}; the converter states {inspection.minimum_runtime}"
    return facts


def _ends(inspection: Inspection) -> dict[str, str]:
    """Describe the inputs and outputs of the first subgraph, a line each, and name the other subgraphs."""
    first, *others = inspection.subgraphs
    facts = {
        name if len(ends) <= 1 else f"{name}s": "\n".join(map(_end, ends)) or "none"
        for name, ends in (("input", first["inputs"]), ("output", first["outputs"]))
    }
    if others:
        counts = (f"{graph['name']}: {plural(graph['operators'], 'operator')}, {_signature(graph)}" for graph in others)
        facts["other subgraphs"] = "\n".join(counts)
    return facts


def _end(end: dict[str, Any]) -> str:
    quantization = "" if end["scale"] is None else f", scale {end['scale']:.6g}, zero point {end['zero_point']}"
    shape = ", ".join("any" if side < 0 else str(side) for side in end["shape_signature"])
    return f"{end['dtype']} [{shape}]{quantization}"


def _signature(graph: dict[str, Any]) -> str:
    given, made = ("; ".join(map(_end, graph[side])) or "nothing" for side in ("inputs", "outputs"))
    return f"{given} -> {made}"


def _card_facts(model: Path, artifact: Artifact | None) -> dict[str, str]:
    if artifact is None:
        return {"card": "none: not made by irv2-convert"}
    try:
        return _said(artifact.card, artifact.labels)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a forged card may say anything anywhere
        raise ArtifactError(
            f"{model}: its card is not one of this project: {error!r}; get it from its maker"
        ) from error


def _said(card: Card, labels: tuple[str, ...]) -> dict[str, str]:
    return {
        "card": f"{card.name}, {card.architecture}, scheme {card.scheme}, checksums hold",
        "head": head_text(card.source.get("head", card.head), card.classes),
        "labels": ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else ""),
        "preprocessing": ", ".join(f"{key} {value}" for key, value in card.preprocessing.to_json().items()),
        "drift": "not measured" if card.drift is None else _drift(card.drift),
        **({"compiled from": f"the flatbuffer {card.source[COMPILED_FROM]}"} if COMPILED_FROM in card.source else {}),
    }


def _oldest(runtime: str | None) -> str:
    if runtime is None:
        return "none of those measured"
    return f"{runtime} or older" if runtime == next(iter(runtimes.measured())) else runtime


def _drift(summary: dict[str, Any]) -> str:
    agreement = percent(summary["agreement_top1"])
    rank = words(summary).rank.lower()
    return f"{summary['verdict']}: {rank} agreement {agreement} on {count(summary['images'])} images"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count(number)} x {name}" for name, number in counts.items()) or "none"
