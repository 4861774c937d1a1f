"""`irv2-convert`: parse, call the pipeline, show the result, exit with its verdict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from convert.cache.store import FOLDER_VARIABLE, Cache, limit, place
from convert.cli.options import COUNT, FILE, limit_options, limits, one_line_errors, source_options
from convert.cli.verify import verify
from convert.errors import ConvertError
from convert.job import Job, check
from convert.keras_models.sources import ModelSource
from convert.quantization.calibrators import AUTO, CALIBRATORS
from convert.quantization.schemes import IO_CHOICES, SCHEMES, parse_schemes
from convert.reporting.outcome import exit_code
from convert.reporting.report_json import as_text, to_json
from convert.reporting.terminal import print_outcomes


class CountOrAuto(click.ParamType["int | None"]):
    """A positive number, or "auto" for None."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number."""
        return None if value == AUTO else COUNT.convert(value, param, ctx)


COUNT_OR_AUTO = CountOrAuto()


@click.group(invoke_without_command=True, context_settings={"max_content_width": 100})
@click.option(
    "--quantize",
    default="int8",
    show_default=True,
    metavar="SCHEME[,SCHEME...]",
    help=f"How to quantize: {', '.join(SCHEMES)}.",
)
@source_options(default_model="demo")
@click.option(
    "--calibration-size",
    type=COUNT_OR_AUTO,
    default=str(Job.calibration_size),
    show_default=True,
    metavar="N|auto",
    help="Most images to measure on; auto: until ranges stop growing.",
)
@click.option(
    "--calibrator",
    type=click.Choice([*CALIBRATORS, AUTO]),
    default=Job.calibrator,
    show_default=True,
    help="What range of an activation its integers cover; auto: what does best on held-out images.",
)
@click.option("--keep-float", metavar="REGEX", help="Layers that scheme mixed leaves in float.")
@click.option("--recover", is_flag=True, help="Where int8 does not pass, look for the fewest layers to leave in float.")
@click.option(
    "--validation-size", type=COUNT, default=Job.validation_size, show_default=True, help="Most images to judge by."
)
@click.option("--no-validate", is_flag=True, help="Do not measure drift.")
@click.option("--no-thumbnails", is_flag=True, help="Leave pictures and folders out of the HTML report.")
@click.option("--io", type=click.Choice(IO_CHOICES), help="Type of the artifact's ends.  [default: by scheme]")
@click.option("--target-runtime", metavar="NAME", help="Refuse what this runtime cannot run, as tflite-runtime-2.14.")
@click.option(
    "--output-dir", type=FILE, default=Job.output_dir, show_default=True, metavar="DIR", help="Where artifacts go."
)
@limit_options
@click.option("--no-cache", is_flag=True, help="Neither use what earlier conversions kept, nor keep anything.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@one_line_errors
@click.pass_context
def convert(context: click.Context, /, **options: Any) -> None:
    """Convert an Inception-ResNet-V2 to a judged .tflite artifact.

    Exit code: 0 the gate passed, 1 an error, 2 wrong usage, 3 drift over the limit, 4 too few images to tell.
    """
    if context.invoked_subcommand is not None:
        return
    job = _job(options)
    if options["dry_run"]:
        _explain(job)
        return
    from convert.cli.progress import TerminalProgress
    from convert.pipeline import convert as run

    with TerminalProgress(Console(stderr=True)) as progress:
        outcomes = run(job, progress)
    if options["as_json"]:
        click.echo(as_text([to_json(outcome) for outcome in outcomes]))
    else:
        print_outcomes(Console(), outcomes)
    sys.exit(exit_code([outcome.gate for outcome in outcomes if not outcome.superseded]))


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
    from convert.errors import SourceError
    from convert.system.atomic import write_atomically

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
@click.option("--clear", is_flag=True, help="Remove all of it.")
@one_line_errors
def cache(clear: bool) -> None:
    """Show what conversions keep for later ones: what of, size, age; or remove it."""
    from convert.reporting.cache_listing import print_entries

    folder = place()
    if folder is None:
        raise ConvertError(f"there is no home folder, so there is no cache: {FOLDER_VARIABLE} names a place for one")
    opened = Cache(folder, limit())
    if clear:
        click.echo(f"removed {opened.clear()} entries of {folder}")
    else:
        print_entries(Console(), opened)


convert.add_command(verify)


def _job(options: dict[str, Any]) -> Job:
    return Job(
        source=ModelSource(options["model"], options["weights"], options["classes"], options["input_size"]),
        schemes=tuple(parse_schemes(options["quantize"])),
        preprocessing=options["preprocessing"],
        labels=options["labels"],
        calibration=options["calibration"],
        calibration_size=options["calibration_size"],
        calibrator=options["calibrator"],
        keep_float=options["keep_float"],
        target_runtime=options["target_runtime"],
        recover=options["recover"],
        validation=options["validation"],
        validation_size=options["validation_size"],
        io=options["io"],
        output_dir=options["output_dir"],
        limits=limits(options["max_drop"], options["min_agreement"], options["max_top5_drop"]),
        validate=not options["no_validate"],
        thumbnails=not options["no_thumbnails"],
        use_cache=not options["no_cache"],
    )


def _explain(job: Job) -> None:
    inputs = check(job)
    calibration = f"{len(inputs.calibration)} images of {inputs.calibration.root}" if inputs.calibration else "none"
    calibration += f", {len(inputs.held_out)} more held out" if inputs.held_out else ""
    validation = f"{len(inputs.validation)} images of {inputs.validation.root}" if inputs.validation else "none"
    click.echo(f"network:     {job.source.name}\ncalibration: {calibration}\nvalidation:  {validation}")
    for scheme in job.schemes:
        artifact = job.output_dir / f"{job.source.name}.{scheme.name}.tflite"
        click.echo(f"would write: {artifact} ({scheme.summary}; ends {inputs.io[scheme.name]})")
