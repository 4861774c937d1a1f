"""`irv2-convert`: parse the options into a `Job`, run the pipeline, show the result, and exit with its verdict.

Its other commands are those of `convert.cli.subcommands`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from convert.cli.errors import one_line_errors
from convert.cli.options import FILE, field_options, limit_options, network_options, pinned
from convert.cli.progress import TerminalProgress
from convert.cli.subcommands import SUBCOMMANDS, Subcommands
from convert.images.conventions import fitted
from convert.job import Job, check, labelled_source
from convert.keras_models.sources import WEIGHTS_FILE, ModelSource
from convert.quantization.schemes import DEFAULT, SCHEMES, parse_schemes
from convert.reporting import ci
from convert.reporting.formatting import Report, number
from convert.reporting.outcome import as_text, exit_code
from convert.reporting.terminal import print_outcomes
from convert.statistics.verdict import Limits
from convert.system.temporary import scratch_folder
from edge_runtime.console import printable


@click.group(
    commands=Subcommands(SUBCOMMANDS), invoke_without_command=True, context_settings={"max_content_width": 100}
)
@click.option(
    "--quantize",
    default=DEFAULT.name,
    show_default=True,
    metavar="SCHEME[,SCHEME...]",
    help=f"How to quantize: {', '.join(SCHEMES)}.",
)
@network_options(default_model="demo")
@field_options(Job)
@limit_options
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write the verdicts as JUnit XML.")
@click.option("--dry-run", is_flag=True, help="Check everything, print what would be done, and stop.")
@one_line_errors
@pinned("network")
@click.pass_context
def convert(
    context: click.Context,
    /,
    network: ModelSource,
    quantize: str,
    limits: Limits,
    as_json: bool,
    junit: Path | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Convert an Inception-ResNet-V2 to a judged .tflite artifact.

    Exit code: 0 the gate passed, 1 an error, 2 wrong usage, 3 drift over the limit, 4 too few images to tell.
    """
    if context.invoked_subcommand is not None:
        return
    job = Job(network, tuple(parse_schemes(quantize)), limits, **options)
    if dry_run:
        _explain(job)
        return
    from convert.pipeline import convert as run

    with TerminalProgress(Console(stderr=True)) as progress:
        outcomes = run(job, progress)
    final = [outcome for outcome in outcomes if not outcome.superseded]
    _tell_ci([outcome.to_json() for outcome in final], junit)
    if as_json:
        click.echo(as_text([outcome.to_json() for outcome in outcomes]))
    else:
        print_outcomes(Console(), outcomes)
    sys.exit(exit_code([outcome.gate for outcome in final]))


def _tell_ci(reports: Sequence[Report], junit: Path | None) -> None:
    """Leave the verdicts where continuous integration looks for them."""
    if junit is not None:
        ci.write_junit(junit, reports)
    ci.append_step_summary(reports, lambda text: click.echo(text, err=True))


def _explain(job: Job) -> None:
    """Print what a job would read and write, and what the user's own file turned out to be."""
    inputs = check(job)
    recognition = _recognized(labelled_source(job, inputs), inputs.preprocessing, job.fit)
    calibration = f"{len(inputs.calibration)} images of {inputs.calibration.root}" if inputs.calibration else "none"
    calibration += f", {len(inputs.held_out)} more held out" if inputs.held_out else ""
    validation = f"{len(inputs.validation)} images of {inputs.validation.root}" if inputs.validation else "none"
    click.echo(f"network:     {job.source.name}\ncalibration: {calibration}\nvalidation:  {validation}")
    for line in recognition:
        click.echo(line)
    for scheme in job.schemes:
        artifact = job.output_dir / f"{job.source.name}.{scheme.name}.tflite"
        click.echo(f"would write: {artifact} ({scheme.summary}; ends {inputs.io[scheme.name]})")


def _recognized(source: ModelSource, preprocessing: str | None, fit: str | None) -> list[str]:
    """Load the user's own file, and return lines about it; none for our own networks, which are known."""
    if source.is_ours:
        return []
    from convert.lowering.lower import RecognitionRequest, recognize

    with TerminalProgress(Console(stderr=True)) as progress, scratch_folder(Path(tempfile.gettempdir())) as scratch:
        found = recognize(RecognitionRequest(source, preprocessing, scratch), progress)
    spec, what = fitted(found.spec, fit), found.recognized or found.architecture
    says_classes = source.origin == WEIGHTS_FILE and bool(found.recognized)  # a whole model's line names it alone
    colours = "grey" if spec.channels == 1 else spec.channel_order
    scaling = f"mean {' '.join(map(number, spec.mean))}, std {' '.join(map(number, spec.std))}"
    lines = [
        f"recognized:  {what}{'' if says_classes else f', {found.classes} classes'}",
        f"images:      {spec.height}x{spec.width} {colours}, {scaling}, {spec.geometry}, {spec.resize}",
        *(f"in front:    {line}" for line in found.front),
    ]
    return [printable(line) for line in lines]
