"""`irv2-drift`: the drift check alone, for CI."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import click

from convert.cli.configured import (
    configured,
    of_drift,
    refuse_comparing_nothing,
    refuse_missing_files,
    settings_note,
)
from convert.cli.console import standard_output
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import JUDGED, exit_codes
from convert.cli.gate_dry_run import explain
from convert.cli.gate_options import GateOptions, check_together, gate_options, only_saving
from convert.cli.options import FILE, Output, limit_options, output_options, quiet_option
from convert.cli.pinned import pinned
from convert.cli.progress import shown_progress
from convert.cli.version import version_option
from convert.drift import on_device
from convert.drift import run as drift_run
from convert.drift import shards as drift_shards
from convert.drift.models import ModelOptions
from convert.drift.run import DriftRequest, DriftRun
from convert.drift.shards import Share
from convert.images.conventions import fit_text, fitted
from convert.reporting import ci
from convert.reporting.answers_csv import write_answers
from convert.reporting.devices import device_reports, exit_code
from convert.reporting.outcome import as_text
from convert.reporting.terminal import print_quietly, print_report
from convert.statistics.verdict import Limits
from convert.system.progress import Progress
from convert.system.temporary import refuse_unwritable

GATE = "gate"


class GateGroup(click.Group):
    """A group with a default command: `irv2-drift CANDIDATE` is `irv2-drift gate CANDIDATE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the default command if no command is named."""
        if not args or args[0] not in self.commands:
            args = [GATE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=GateGroup, context_settings={"max_content_width": 100})
def drift() -> None:
    """Measure how far a model is from its reference, and judge it."""


@drift.command(
    GATE,
    epilog="The word `gate` may be left out. To judge several --shard runs as one, see `irv2-drift merge --help`. "
    f"{exit_codes(JUDGED)}",
)
@gate_options
@limit_options
@configured(of_drift)
@output_options
@quiet_option
@click.option("--dry-run", is_flag=True, help="Check everything, print what would be done, and stop.")
@version_option
@one_line_errors
@pinned("candidate")
@pinned("reference", "--reference-sha256")
@click.pass_context
def gate(context: click.Context, /, limits: Limits, output: Output, quiet: bool, dry_run: bool, **options: Any) -> None:
    """Measure how far CANDIDATE is from a reference, and judge it.

    Of several devices the worst exit code counts: 3, then 1 for one that did not answer, then 4.
    """
    check_together(context)
    given = GateOptions(**options)
    asked = only_saving(context, given)
    with ExitStack() as stack:
        progress = stack.enter_context(shown_progress(quiet))
        for note in settings_note(context):
            progress.note(note)
        stack.enter_context(_reports(output, asked, dry_run))
        refuse_comparing_nothing(context, asked.candidate, asked.reference)
        models, notes = asked.models()
        for note in notes:
            progress.note(note)
        if dry_run:
            explain(context, asked, output, models, progress)
            refuse_unwritable(asked.files if asked.share is not None else (*asked.files, *output.files))
            return
        refuse_missing_files(context, asked.opened)
        refuse_unwritable(asked.files)
        if asked.save_reference is not None:
            _save_reference(asked.save_reference, asked, models, progress)
        if asked.candidate is None:
            if given.candidate is not None:
                progress.note(
                    f"--save-reference only saves: irv2-drift without it judges {given.candidate}; to judge it against "
                    f'these answers, write reference = "{asked.save_reference}" into the settings'
                )
            return
        request = asked.request(asked.candidate, models)
        if asked.share is not None:
            _write_shard(request, asked.share, asked.rows_path(asked.share), progress)
            return
        found = _judge(request, asked, limits, progress)
    show(found, quiet, output)


def _reports(output: Output, asked: GateOptions, dry_run: bool) -> AbstractContextManager[None]:
    """Return what keeps reports of an earlier run from being taken for those of a run that judges."""
    if dry_run or asked.candidate is None or asked.share is not None:
        return nullcontext()
    refuse_unwritable(output.files)
    return ci.errors_in("irv2-drift", asked.candidate, output.junit, output.files)


def _save_reference(path: Path, asked: GateOptions, models: ModelOptions, progress: Progress) -> None:
    of_reference = models.with_preprocessing(asked.reference_preprocessing)
    stored = drift_run.save_reference(path, asked.reference, of_reference, asked.to_store(models), progress)
    progress.note(f"{path}: answers of {asked.reference} to {len(stored.images)} images")
    if asked.fit is not None and fitted(stored.spec, asked.fit) != stored.spec:
        progress.note(
            f"warning: {asked.reference} says itself that pictures are fitted by {fit_text(stored.spec)}, and so they "
            f"were: --fit {asked.fit} is for models that do not say it"
        )


def _judge(request: DriftRequest, asked: GateOptions, limits: Limits, progress: Progress) -> DriftRun:
    """Compare and judge: here, on devices, or on the workers of a scheduler."""
    if asked.devices is not None:
        return on_device.run(asked.devices, request, limits, progress)
    if asked.scheduler is not None:
        return drift_shards.run_on_cluster(asked.scheduler, request, limits, progress)
    return drift_run.run(request, limits, asked.stop_early, progress)


def _write_shard(request: DriftRequest, share: Share, path: Path, progress: Progress) -> None:
    shard = drift_shards.predict_shard(request, share, progress)
    drift_shards.write_shard(path, shard)
    progress.note(f"{path}: {len(shard['images'])} of {shard['run']['images']['count']} images, shard {share}")


@drift.command(epilog=exit_codes(JUDGED))
@click.argument("shards", type=FILE, nargs=-1, required=True, metavar="FILE...")
@limit_options
@configured(of_drift)
@output_options
@quiet_option
@one_line_errors
def merge(shards: tuple[Path, ...], limits: Limits, quiet: bool, output: Output) -> None:
    """Judge all shards of a run, written with --shard 1/N to N/N, as one process would have."""
    refuse_unwritable(output.files)
    with ci.errors_in("irv2-drift", shards[0], output.junit, output.files):
        found = drift_shards.merge({str(path): drift_shards.read_shard(path) for path in shards}, limits)
    show(found, quiet, output)


def show(found: DriftRun, quiet: bool, output: Output) -> None:
    """Print and write what was found, and exit with the code of the verdict."""
    report = found.report
    if output.html is not None:
        from convert.reporting import html as page

        page.write(page.render(report, found.assessment.comparison, thumbnails=not output.no_thumbnails), output.html)
    if output.junit is not None:
        ci.write_junit(output.junit, device_reports(report))
    if output.csv is not None:
        write_answers(output.csv, found.assessment.comparison)
    ci.append_step_summary([report], lambda text: click.echo(text, err=True))
    if output.as_json:
        click.echo(as_text(report))
    elif quiet:
        print_quietly(standard_output(), report)
    else:
        print_report(standard_output(), report)
    sys.exit(exit_code(report))
