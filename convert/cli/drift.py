"""`irv2-drift`: the gate alone, for CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from convert.cli.options import limit_options, limits, one_line_errors, output_options
from convert.cli.progress import TerminalProgress
from convert.drift.drift import Limits
from convert.drift.models import ModelOptions
from convert.drift.run import Measured, Request, run, save_reference
from convert.drift.shards import Share, answer_shard, read_shard, write_shard
from convert.drift.shards import merge as merged
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import find_images
from convert.job import read_labels
from convert.reporting import ci
from convert.reporting.outcome import exit_code
from convert.reporting.report_json import as_text
from convert.reporting.terminal import print_report

FILE = click.Path(path_type=Path)
CONVENTION = "|".join([*CONVENTIONS, "FILE"])
GATE = "gate"
APART = {
    "shard": ("scheduler", "as_json", "junit", "html", "reference_kernels", "recorded"),
    "scheduler": ("reference_kernels", "recorded"),
}
"""Option -> those that have no meaning beside it."""
HINTS = {
    "shard": "a shard has no verdict, pass it to irv2-drift merge",
    "scheduler": "run it without a scheduler, --images-size 10 is enough",
}


class GateGroup(click.Group):
    """A group whose main command need not be named: `irv2-drift CANDIDATE` is `irv2-drift gate CANDIDATE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the main command where no other one is."""
        if not args or args[0] not in self.commands:
            args = [GATE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=GateGroup, context_settings={"max_content_width": 100})
def drift() -> None:
    """Measure how far a model is from its reference, and judge it."""


@drift.command(
    GATE, epilog="The word `gate` may be left out. `irv2-drift merge --help`: what several --shard runs found, as one."
)
@click.argument("candidate", type=FILE, required=False)
@click.option(
    "--reference",
    type=FILE,
    required=True,
    metavar="FILE",
    help="Float .tflite, Keras model, or stored answers (.npz).",
)
@click.option("--images", type=FILE, required=True, metavar="DIR", help="Images; class folders give labels.")
@click.option("--images-size", type=click.IntRange(min=1), help="Most images to use.  [default: all]")
@click.option("--preprocessing", metavar=CONVENTION, help="Of a model without a card.")
@click.option("--reference-preprocessing", metavar=CONVENTION, help="Of the reference, where it differs.")
@click.option("--labels", type=FILE, metavar="FILE", help="Of a model without a card: one label a line.")
@click.option(
    "--save-reference", type=FILE, metavar="FILE.npz", help="Store the reference's answers; CANDIDATE may be left out."
)
@click.option(
    "--stop-early/--no-stop-early",
    default=True,
    show_default=True,
    help="Stop at the first image at which the verdict is certain; intervals are wider for it. "
    "Shards and workers of a scheduler never do.",
)
@click.option("--shard", metavar="K/N", help="Answer part K of N of the images only, and write it to --rows.")
@click.option("--rows", type=FILE, metavar="FILE", help="Where to write a shard.  [default: drift.K-of-N.json]")
@click.option("--scheduler", metavar="ADDRESS", help="Let the workers of a dask scheduler answer, tcp://HOST:PORT.")
@click.option("--reference-kernels", is_flag=True, help="Blame the optimized kernels, on 4 images; minutes.")
@click.option("--recorded", type=FILE, metavar="FILE", help="Blame a device: what irv2-predict --record wrote there.")
@limit_options
@output_options
@one_line_errors
def gate(candidate: Path | None, reference: Path, images: Path, **options: Any) -> None:
    """Measure how far CANDIDATE is from a reference, and judge it.

    Exit code: 0 pass, 1 an error, 2 wrong usage, 3 drift over the limit, 4 too few images to tell.
    """
    _check_together(candidate, options)
    names = None if options["labels"] is None else read_labels(options["labels"])
    of_reference = ModelOptions(options["reference_preprocessing"] or options["preprocessing"], names)
    with TerminalProgress(Console(stderr=True)) as progress:
        if options["save_reference"] is not None:
            _save(options["save_reference"], reference, of_reference, images, options["images_size"], progress)
            reference = options["save_reference"]
        if candidate is None:
            return
        request = Request(
            candidate=candidate,
            reference=reference,
            images=images,
            images_size=options["images_size"],
            candidate_options=ModelOptions(options["preprocessing"], names),
            reference_options=of_reference,
            on_purpose=options["reference_preprocessing"] is not None,
            reference_kernels=options["reference_kernels"],
            recorded=options["recorded"],
        )
        if options["shard"] is not None:
            _write_shard(request, Share.parse(options["shard"]), options["rows"], progress)
            return
        measured = _measure(request, options, progress)
    show(measured, options)


def _check_together(candidate: Path | None, options: dict[str, Any]) -> None:
    """Refuse what would be ignored."""
    if candidate is None and options["save_reference"] is None:
        raise click.UsageError("CANDIDATE is missing: pass a .tflite, or --save-reference FILE.npz")
    for option, others in APART.items():
        other = next((other for other in others if options[other]), None)
        if options[option] and other is not None:
            raise click.UsageError(f"{_flag(option)} does not go with {_flag(other)}: {HINTS[option]}")
    if options["rows"] is not None and options["shard"] is None:
        raise click.UsageError("--rows goes with --shard K/N")


def _flag(option: str) -> str:
    return "--" + option.removeprefix("as_").replace("_", "-")


def _measure(request: Request, options: dict[str, Any], progress: TerminalProgress) -> Measured:
    judge_by = _limits(options)
    if options["scheduler"] is None:
        return run(request, judge_by, options["stop_early"], progress)
    from convert.drift.dask import run_on_cluster

    return run_on_cluster(options["scheduler"], request, judge_by, progress)


@drift.command()
@click.argument("shards", type=FILE, nargs=-1, required=True, metavar="FILE...")
@limit_options
@output_options
@one_line_errors
def merge(shards: tuple[Path, ...], **options: Any) -> None:
    """Judge what all shards of a run found, written with --shard 1/N to N/N, as one process would have.

    Exit codes are those of the run.
    """
    show(merged({str(path): read_shard(path) for path in shards}, _limits(options)), options)


def _write_shard(request: Request, share: Share, rows: Path | None, progress: TerminalProgress) -> None:
    path = rows or Path(f"drift.{share.number}-of-{share.count}.json")
    shard = answer_shard(request, share, progress)
    write_shard(path, shard)
    progress.note(f"{path}: {len(shard['images'])} of {shard['run']['images']['count']} images, shard {share}")


def _save(
    path: Path, reference: Path, options: ModelOptions, images: Path, size: int | None, progress: TerminalProgress
) -> None:
    stored = save_reference(path, reference, options, find_images(images).shuffled()[:size], progress)
    progress.note(f"{path}: answers of {reference} to {len(stored.images)} images")


def _limits(options: dict[str, Any]) -> Limits:
    return limits(options["max_drop"], options["min_agreement"], options["max_top5_drop"])


def show(measured: Measured, options: dict[str, Any]) -> None:
    """Print and write what was found, and exit with its verdict."""
    if options["html"] is not None:
        from convert.reporting import html

        html.write(
            html.render(measured.report, measured.compared, thumbnails=not options["no_thumbnails"]), options["html"]
        )
    if options["junit"] is not None:
        ci.write_junit(options["junit"], measured.report)
    ci.append_step_summary(measured.report, lambda text: click.echo(text, err=True))
    if options["as_json"]:
        click.echo(as_text(measured.report))
    else:
        print_report(Console(), measured.report)
    sys.exit(exit_code([measured.gate]))
