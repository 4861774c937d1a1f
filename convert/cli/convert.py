"""`irv2-convert`: parse the options into a `Job`, run the pipeline, show the result, and exit with its verdict.

Its other commands are `attach`, `cache`, `describe` and `verify`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.cache.store import Cache, ago, limit, place
from convert.cli.errors import one_line_errors
from convert.cli.options import COUNT, FILE, field_options, limit_options, network_options, pinned
from convert.cli.progress import TerminalProgress
from convert.errors import SourceError
from convert.images.conventions import fitted
from convert.job import Job, Sources, check, labelled_source
from convert.keras_models.sources import WEIGHTS_FILE, ModelSource
from convert.quantization.schemes import DEFAULT, SCHEMES, parse_schemes
from convert.reporting import ci
from convert.reporting.formatting import Report, count, megabytes, number
from convert.reporting.outcome import as_text, exit_code
from convert.reporting.terminal import print_outcomes
from convert.statistics.verdict import Limits
from convert.system.temporary import scratch_folder, write_atomically
from edge_runtime.console import printable
from edge_runtime.custom_operators import COMPILED_FROM

if TYPE_CHECKING:  # it imports the whole pipeline
    from convert.verify import Verification

NOT_VERIFIED = 3
INPUT_STYLES = {"same": "green", "changed": "bold red", "not given": "dim", "not recorded": "yellow"}
"""State of an input of an artifact -> its style."""


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


@convert.command()
@click.option("--clear", is_flag=True, help="Remove all entries.")
@one_line_errors
def cache(clear: bool) -> None:
    """Show what conversions keep for later ones, with size and age, or remove it."""
    opened = Cache(place(), limit())
    if clear:
        click.echo(f"removed {opened.clear()} entries of {opened.folder}")
        return
    console, entries = Console(), opened.entries()
    if entries:
        table = Table("kept", "of", "size", "made", "last used", box=None, pad_edge=False)
        for entry in entries:
            size, made, used = megabytes(entry.bytes), ago(entry.made), ago(entry.used)
            table.add_row(escape(printable(entry.kind)), escape(printable(entry.of)), size, made, used)
        console.print(table)
    console.print(
        f"{count(len(entries))} entries, {megabytes(sum(entry.bytes for entry in entries))} "
        f"of at most {megabytes(opened.limit)} in {escape(printable(str(opened.folder)))}",
        highlight=False,
        soft_wrap=True,
    )


@convert.command()
@click.option("--input-size", type=COUNT, default=299, show_default=True, help="Height and width in pixels.")
@click.option("--classes", type=COUNT, default=1000, show_default=True, help="Number of classes.")
@click.option(
    "--output",
    type=FILE,
    default=Path("build/inception_resnet_v2.svg"),
    show_default=True,
    metavar="FILE",
    help="Where to write the picture.",
)
@one_line_errors
def describe(input_size: int, classes: int, output: Path) -> None:
    """Show the network: a table of its stages, and an SVG picture to zoom into."""
    console = Console()
    with Console(stderr=True).status("building the network"):
        from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
        from convert.picture.drawing import network_svg
        from convert.picture.stages import stage_table, stages

        try:
            model = inception_resnet_v2((input_size, input_size, 3), classes)
        except ValueError as error:
            raise SourceError(f"--input-size {input_size}: {error}") from error
    console.print(stage_table(stages(model)))
    picture = network_svg(model)
    write_atomically(output, lambda partial: partial.write_text(picture, "utf-8"))
    console.print(f"picture: {output}", highlight=False, markup=False, soft_wrap=True)


@convert.command()
@click.argument("card_or_artifact", type=FILE)
@click.argument("compiled", type=FILE)
@click.option("--output", type=FILE, metavar="FILE", help="Where to write.  [default: ARTIFACT.compiled.tflite]")
@one_line_errors
@pinned("compiled")
def attach(card_or_artifact: Path, compiled: Path, output: Path | None) -> None:
    """Give COMPILED, which a vendor's compiler (Edge TPU, Ethos-U, ...) made of an artifact, its card and labels.

    CARD_OR_ARTIFACT is that artifact, its report, or its card.json with labels.txt beside it.
    """
    from convert.tflite import artifact_writer, compiled_model

    package = compiled_model.attach(card_or_artifact, compiled)
    name = card_or_artifact.name.removesuffix(compiled_model.REPORT_SUFFIX)
    path = output or card_or_artifact.with_name(name).with_suffix(".compiled.tflite")
    if path.exists() and path.samefile(card_or_artifact):
        raise SourceError(f"--output {path} is what the card comes from: write elsewhere")
    artifact_writer.write(package, path)
    click.echo(path)


@convert.command()
@click.argument("artifact", type=FILE)
@network_options(default_model=None)
@field_options(Sources)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@one_line_errors
@pinned("artifact")
def verify(artifact: Path, network: ModelSource | None, as_json: bool, **sources: Any) -> None:
    """Check the checksums of ARTIFACT; given its sources, show which have changed, or build it again and compare.

    What its card records (calibrator, sizes, limits) is taken from there.

    Exit code: 0 nothing differs, 1 an error or a damaged file, 2 wrong usage, 3 an input or a byte differs.
    """
    from convert.verify import verify as run

    with TerminalProgress(Console(stderr=True)) as progress:
        found = run(artifact, network, Sources(**sources), progress)
    if as_json:
        click.echo(as_text(found.to_json()))
    else:
        _show_verification(Console(), found)
    sys.exit(0 if found.holds else NOT_VERIFIED)


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


def _show_verification(console: Console, found: Verification) -> None:
    """Print a row for each input, and the conclusion."""

    def say(text: str) -> None:
        console.print(escape(printable(text)), highlight=False, soft_wrap=True)

    say(f"{found.artifact.path}: checksums of flatbuffer, labels and card hold")
    if found.inputs:
        table = Table("input", "recorded", "found", "", box=None, pad_edge=False)
        for each in found.inputs:
            cells = (printable(each.recorded or "-"), printable(each.found or "-"))
            table.add_row(each.name, *map(escape, cells), f"[{INPUT_STYLES[each.state]}]{each.state}[/]")
        console.print(table)
    say(_conclusion(found))


def _conclusion(found: Verification) -> str:
    if (compiled := found.artifact.card.source.get(COMPILED_FROM)) is not None:
        return f"not built again: it was compiled from the flatbuffer {compiled}; verify the artifact of that"
    if not found.inputs:
        return "not built again: pass its sources, --model or --weights first"
    if found.changed:
        return f"changed: {', '.join(found.changed)}; not built again"
    if found.identical is None:
        return "nothing that was given has changed; not built again: pass --model or --weights as well"
    if found.identical:
        return "built again: identical, byte for byte"
    return f"built again: differs in {', '.join(found.differences or ['the archive at its end'])}"
