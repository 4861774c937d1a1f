"""`irv2-convert`: parse the options into a `Job`, run the pipeline, show the result, and exit with its verdict.

Its other commands are those of `convert.cli.subcommands`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from convert.cli.configured import (
    ALONE,
    configured,
    is_silent,
    of_conversion,
    refuse_missing_sources,
    refuse_no_network,
    settings_note,
)
from convert.cli.console import standard_output
from convert.cli.dry_run import explain
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import JUDGED, exit_codes
from convert.cli.options import FILE, conversion_options, quiet_option
from convert.cli.pinned import pinned
from convert.cli.progress import shown_progress
from convert.cli.subcommands import SUBCOMMANDS, Subcommands
from convert.cli.version import version_option
from convert.job import Job
from convert.keras_models.sources import ModelSource
from convert.quantization.schemes import parse_schemes
from convert.reporting import ci
from convert.reporting.formatting import Report
from convert.reporting.outcome import as_text, exit_code
from convert.reporting.terminal import (
    passed_before,
    print_failing_limits,
    print_outcomes,
    print_verdicts,
    print_warnings,
)
from convert.statistics.verdict import Limits
from convert.system.temporary import refuse_unwritable

NOTHING_SAID = 2
WELCOME = """irv2-convert makes one int8 .tflite of an image classifier, and measures what that costs. It needs
a network, the names of its classes, images like those it will see, and others to judge the result on:

  irv2-convert --model mine.keras --labels labels.txt --calibration DIR --validation DIR

  irv2-convert init           writes irv2.toml from what is in this folder; then irv2-convert alone will do
  irv2-convert --model demo   tries it on the bundled network: a few minutes
  irv2-convert --help         lists all options
"""


class ConversionGroup(click.Group):
    """A command with options, or the one that the first word names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep `irv2.toml` from the commands behind the first word, which have options of their own."""
        if args and args[0] in self.commands:
            ctx.meta[ALONE] = True
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names; who passes a network there is told where it belongs."""
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            commands, alike = ", ".join(self.commands), get_close_matches(args[0], self.commands, 1)
            advice = f"did you mean {alike[0]}?" if alike else f"to convert it, pass --model {args[0]}"
            raise click.UsageError(f"{args[0]} is not a command ({commands}): {advice}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=ConversionGroup,
    commands=Subcommands(SUBCOMMANDS),
    invoke_without_command=True,
    context_settings={"max_content_width": 100},
    epilog=exit_codes(JUDGED),
)
@conversion_options
@configured(of_conversion)
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write the verdicts as JUnit XML.")
@quiet_option
@click.option("--dry-run", is_flag=True, help="Check everything, print what would be done, and stop.")
@version_option
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
    quiet: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Convert an image classifier to a judged .tflite artifact."""
    if context.invoked_subcommand is not None:
        return
    if is_silent(context):
        click.echo(WELCOME, err=True, nl=False)
        sys.exit(NOTHING_SAID)
    refuse_no_network(context)
    job = Job(network, tuple(parse_schemes(quantize)), limits, **options)
    for note in () if quiet else _chosen(context, network):
        click.echo(note, err=True)
    if dry_run:
        explain(context, job, quiet)
    refuse_missing_sources(context)
    refuse_unwritable(() if junit is None else (junit,))
    if dry_run:
        return
    from convert.pipeline import convert as run

    with ci.errors_in("irv2-convert", Path(network.name), junit), shown_progress(quiet) as progress:
        outcomes = run(job, progress)
    final = [outcome for outcome in outcomes if not outcome.superseded]
    _tell_ci([outcome.to_json() for outcome in final], junit)
    if as_json:
        click.echo(as_text([outcome.to_json() for outcome in outcomes]))
        click.echo("".join(f"{line}\n" for line in passed_before(outcomes)), nl=False, err=True)
    elif quiet:
        print_warnings(standard_output(), [outcome.to_json() for outcome in outcomes])
        print_verdicts(standard_output(), outcomes)
        print_failing_limits(standard_output(), outcomes)
    else:
        print_outcomes(standard_output(), outcomes)
    sys.exit(exit_code([outcome.gate for outcome in final]))


def _tell_ci(reports: Sequence[Report], junit: Path | None) -> None:
    """Leave the verdicts where continuous integration looks for them."""
    if junit is not None:
        ci.write_junit(junit, reports)
    ci.append_step_summary(reports, lambda text: click.echo(text, err=True))


def _chosen(context: click.Context, network: ModelSource) -> Iterator[str]:
    """Say what was chosen that the command line does not say."""
    yield from settings_note(context)
    if network.file is None and context.get_parameter_source("model") == ParameterSource.DEFAULT:
        yield "no --model: this converts the bundled demo"
