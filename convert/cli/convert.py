"""`irv2-convert`: parse the options into a `Job`, run the pipeline, show the result, and exit with its verdict."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from convert.cli.cache import cache
from convert.cli.describe import describe
from convert.cli.errors import one_line_errors
from convert.cli.options import field_options, limit_options, network_options
from convert.cli.verify import verify
from convert.job import Job, check
from convert.keras_models.sources import ModelSource
from convert.quantization.schemes import DEFAULT, SCHEMES, parse_schemes
from convert.reporting.outcome import exit_code
from convert.reporting.report_json import as_text, to_json
from convert.reporting.terminal import print_outcomes
from convert.statistics.verdict import Limits


@click.group(invoke_without_command=True, context_settings={"max_content_width": 100})
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
@click.option("--dry-run", is_flag=True, help="Check everything, print what would be done, and stop.")
@one_line_errors
@click.pass_context
def convert(
    context: click.Context,
    /,
    network: ModelSource,
    quantize: str,
    limits: Limits,
    as_json: bool,
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
    from convert.cli.progress import TerminalProgress
    from convert.pipeline import convert as run

    with TerminalProgress(Console(stderr=True)) as progress:
        outcomes = run(job, progress)
    if as_json:
        click.echo(as_text([to_json(outcome) for outcome in outcomes]))
    else:
        print_outcomes(Console(), outcomes)
    sys.exit(exit_code([outcome.gate for outcome in outcomes if not outcome.superseded]))


for command in (cache, describe, verify):
    convert.add_command(command)


def _explain(job: Job) -> None:
    """Print what a job would read and write."""
    inputs = check(job)
    calibration = f"{len(inputs.calibration)} images of {inputs.calibration.root}" if inputs.calibration else "none"
    calibration += f", {len(inputs.held_out)} more held out" if inputs.held_out else ""
    validation = f"{len(inputs.validation)} images of {inputs.validation.root}" if inputs.validation else "none"
    click.echo(f"network:     {job.source.name}\ncalibration: {calibration}\nvalidation:  {validation}")
    for scheme in job.schemes:
        artifact = job.output_dir / f"{job.source.name}.{scheme.name}.tflite"
        click.echo(f"would write: {artifact} ({scheme.summary}; ends {inputs.io[scheme.name]})")
