"""`irv2-drift`: the drift check alone, for CI."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from convert.cli.configured import configured, of_drift, settings_note
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import JUDGED, exit_codes
from convert.cli.options import FILE, SIZE, limit_options, output_options, quiet_option
from convert.cli.pinned import pinned
from convert.cli.progress import shown_progress
from convert.cli.version import version_option
from convert.drift import on_device
from convert.drift import run as drift_run
from convert.drift import shards as drift_shards
from convert.drift.models import ModelOptions
from convert.drift.on_device import Devices
from convert.drift.run import DriftRequest, DriftRun
from convert.drift.shards import Share
from convert.images.conventions import CONVENTIONS, FIT_HELP, GEOMETRIES, check_fit
from convert.images.dataset import find_images
from convert.images.image_labels import IMAGE_LABELS_HELP
from convert.images.labels import notes_on, read_labels
from convert.keras_models.sources import Size, height_and_width
from convert.reporting import ci
from convert.reporting.answers_csv import write_answers
from convert.reporting.devices import device_reports, exit_code
from convert.reporting.outcome import as_text
from convert.reporting.terminal import print_report, print_verdict
from convert.statistics.verdict import Limits
from convert.system.progress import Progress
from edge_runtime.delegates import CPU

CONVENTION = "|".join([*CONVENTIONS, "FILE"])
GATE = "gate"
EXCLUDES = {
    "device": ("shard", "scheduler", "reference_kernels", "recorded"),
    "shard": ("scheduler", "as_json", "junit", "html", "csv", "reference_kernels", "recorded"),
    "scheduler": ("reference_kernels", "recorded"),
}
"""Option -> options that mean nothing together with it."""
HINTS = {
    "device": "run it without a device",
    "shard": "a shard has no verdict, pass it to irv2-drift merge",
    "scheduler": "run it without a scheduler, --images-size 10 is enough",
}


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
@click.argument("candidate", type=FILE, required=False)
@click.option(
    "--reference",
    type=FILE,
    required=True,
    metavar="FILE",
    help="Float .tflite, Keras file, SavedModel folder, or stored answers (.npz).",
)
@click.option("--images", type=FILE, required=True, metavar="DIR", help="Images; class folders give labels.")
@click.option("--image-labels", type=FILE, metavar="FILE", help=IMAGE_LABELS_HELP)
@click.option("--images-size", type=click.IntRange(min=1), help="Maximum number of images.  [default: all]")
@click.option("--preprocessing", metavar=CONVENTION, help="How images are prepared for a model without a card.")
@click.option("--fit", metavar="|".join(GEOMETRIES), help=FIT_HELP)
@click.option(
    "--reference-preprocessing", metavar=CONVENTION, help="How images are prepared for the reference, if differently."
)
@click.option(
    "--labels", type=FILE, metavar="FILE", help="Labels of a model without a card: text, CSV, JSON, class_indices."
)
@click.option("--input-size", type=SIZE, metavar="N|HxW", help="Size of the images, for a model that takes any.")
@click.option(
    "--save-reference", type=FILE, metavar="FILE.npz", help="Store the reference's answers; CANDIDATE may be left out."
)
@click.option(
    "--stop-early/--no-stop-early",
    default=True,
    show_default=True,
    help="Stop at the first image at which the verdict is certain; the intervals are wider for it. "
    "Shards and workers of a scheduler never stop early.",
)
@click.option("--shard", metavar="K/N", help="Only run part K of N of the images, and write its answers to --rows.")
@click.option("--rows", type=FILE, metavar="FILE", help="Where to write the shard.  [default: drift.K-of-N.json]")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the workers of a dask scheduler, tcp://HOST:PORT.")
@click.option(
    "--reference-kernels",
    is_flag=True,
    help="Also measure what the optimized kernels change, on 4 images; takes minutes.",
)
@click.option(
    "--recorded",
    type=FILE,
    metavar="FILE",
    help="Also measure what a device changes: the file that irv2-predict --record wrote there.",
)
@click.option(
    "--device",
    multiple=True,
    metavar="ssh://USER@HOST[:PORT]",
    help="Judge the answers of a device, through the OpenSSH client and its configuration; all images are run. Can be "
    "repeated: devices work side by side.",
)
@click.option(
    "--delegate",
    metavar="NAME[:key=value,...]",
    help="What computes on the device, as for irv2-predict.  [default: cpu]",
)
@click.option("--install", is_flag=True, help="Install on the device what it lacks, in an environment of its own.")
@limit_options
@configured(of_drift)
@output_options
@quiet_option
@version_option
@one_line_errors
@pinned("candidate")
@pinned("reference", "--reference-sha256")
def gate(
    candidate: Path | None,
    reference: Path,
    images: Path,
    image_labels: Path | None,
    images_size: int | None,
    preprocessing: str | None,
    fit: str | None,
    reference_preprocessing: str | None,
    labels: Path | None,
    input_size: Size | None,
    save_reference: Path | None,
    stop_early: bool,
    shard: str | None,
    rows: Path | None,
    scheduler: str | None,
    reference_kernels: bool,
    recorded: Path | None,
    device: tuple[str, ...],
    delegate: str | None,
    install: bool,
    limits: Limits,
    quiet: bool,
    **output: Any,
) -> None:
    """Measure how far CANDIDATE is from a reference, and judge it.

    Of several devices the worst exit code counts: 3, then 1 for one that did not answer, then 4.
    """
    context = click.get_current_context()
    _check_together(context.params)
    model_options, notes = _model_options(preprocessing, fit, labels, input_size)
    with shown_progress(quiet) as progress:
        for note in (*settings_note(context), *notes):
            progress.note(note)
        if save_reference is not None:
            chosen = model_options.named(find_images(images)).shuffled()[:images_size]
            of_reference = model_options.with_preprocessing(reference_preprocessing)
            stored = drift_run.save_reference(save_reference, reference, of_reference, chosen, progress)
            progress.note(f"{save_reference}: answers of {reference} to {len(stored.images)} images")
        if candidate is None:
            return
        request = DriftRequest(
            candidate=candidate,
            reference=save_reference or reference,  # one that was just saved is compared as stored
            images=images,
            images_size=images_size,
            options=model_options,
            reference_preprocessing=reference_preprocessing,
            reference_kernels=reference_kernels,
            recorded=recorded,
            image_labels=image_labels,
        )
        if shard is not None:
            _write_shard(request, Share.parse(shard), rows, progress)
            return
        if device:
            found = on_device.run(Devices(device, delegate or CPU, install), request, limits, progress)
        elif scheduler is None:
            found = drift_run.run(request, limits, stop_early, progress)
        else:
            found = drift_shards.run_on_cluster(scheduler, request, limits, progress)
    show(found, quiet, **output)


def _model_options(
    preprocessing: str | None, fit: str | None, labels: Path | None, input_size: Size | None
) -> tuple[ModelOptions, list[str]]:
    """Return what is said of models without a card, and what the file of labels was taken for."""
    if fit is not None:
        check_fit(fit)
    size = height_and_width(input_size)
    if labels is None:
        return ModelOptions(preprocessing, input_size=size, fit=fit), []
    found = read_labels(labels)
    return ModelOptions(preprocessing, found.names, size, found.by_wordnet, fit=fit), notes_on(found, labels.name)


def _check_together(options: Mapping[str, Any]) -> None:
    """Refuse options that would be ignored."""
    if options["candidate"] is None and options["save_reference"] is None:
        raise click.UsageError("CANDIDATE is missing: pass a .tflite, or --save-reference FILE.npz")
    if options["device"] and _is_typed("stop_early") and options["stop_early"]:
        raise click.UsageError("--stop-early does not go with --device: a device answers all images")
    for option, others in EXCLUDES.items():
        other = next((other for other in others if options[other]), None)
        if options[option] and other is not None:
            raise click.UsageError(f"{_flag(option)} does not go with {_flag(other)}: {HINTS[option]}")
    if options["rows"] is not None and options["shard"] is None:
        raise click.UsageError("--rows goes with --shard K/N")
    for option in ("delegate", "install"):
        if options[option] and not options["device"]:
            raise click.UsageError(f"{_flag(option)} goes with --device ssh://USER@HOST")


def _is_typed(option: str) -> bool:
    """Return whether the user has typed an option that has a default."""
    return click.get_current_context().get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _flag(option: str) -> str:
    return "--" + option.removeprefix("as_").replace("_", "-")


def _write_shard(request: DriftRequest, share: Share, rows: Path | None, progress: Progress) -> None:
    path = rows or Path(f"drift.{share.number}-of-{share.count}.json")
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
def merge(shards: tuple[Path, ...], limits: Limits, quiet: bool, **output: Any) -> None:
    """Judge all shards of a run, written with --shard 1/N to N/N, as one process would have."""
    found = drift_shards.merge({str(path): drift_shards.read_shard(path) for path in shards}, limits)
    show(found, quiet, **output)


def show(
    found: DriftRun,
    quiet: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
    csv: Path | None,
    no_thumbnails: bool,
) -> None:
    """Print and write what was found, and exit with the code of the verdict."""
    report = found.report
    if html is not None:
        from convert.reporting import html as page

        page.write(page.render(report, found.assessment.comparison, thumbnails=not no_thumbnails), html)
    if junit is not None:
        ci.write_junit(junit, device_reports(report))
    if csv is not None:
        write_answers(csv, found.assessment.comparison)
    ci.append_step_summary([report], lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(as_text(report))
    elif quiet:
        print_verdict(Console(), report)
    else:
        print_report(Console(), report)
    sys.exit(exit_code(report))
