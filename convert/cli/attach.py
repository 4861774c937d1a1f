"""`irv2-convert attach`: card and labels for what a vendor's compiler made."""

from __future__ import annotations

from pathlib import Path

import click

from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.cli.options import FILE
from convert.cli.pinned import pinned
from convert.errors import SourceError


@click.command(epilog=exit_codes(DONE))
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
