"""`irv2-convert describe`: the article's network as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from convert.cli.console import standard_output
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.cli.options import COUNT, FILE
from convert.errors import SourceError
from convert.system.temporary import refuse_unwritable, write_atomically
from edge_runtime.console import native_stderr_silenced


@click.command(epilog=exit_codes(DONE))
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
    refuse_unwritable([output])
    console = standard_output()
    click.echo("building the network", err=True)
    with native_stderr_silenced():
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
