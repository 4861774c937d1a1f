"""`irv2-convert card`: an artifact's description for people, as Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.cli.options import FILE
from convert.cli.pinned import pinned
from convert.errors import SourceError
from convert.reporting import model_card
from convert.reporting.described import describe, known_keys
from convert.system.temporary import write_atomically


@click.command(epilog=exit_codes(DONE))
@click.argument("artifact", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(model_card.FORMATS),
    default=model_card.MARKDOWN,
    show_default=True,
    help="Markdown alone, or with the front matter that Hugging Face reads.",
)
@click.option("--output", type=FILE, metavar="FILE", help="Where to write.  [default: standard output]")
@one_line_errors
@pinned("artifact")
def card(artifact: Path, form: str, output: Path | None) -> None:
    """Describe ARTIFACT for others: figures, how they were measured, limits, how to use it.

    All of it is from the card inside and the report beside the artifact; what they do not say is left out.
    """
    found = describe(artifact)
    if found.artifact is None:
        raise SourceError(f"{artifact} is a report, and its artifact is not beside it: pass the artifact")
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    with known_keys(artifact):
        text = model_card.render(found, form)
    if form == model_card.HUGGING_FACE:
        click.echo(f"note: not known, so left out: {', '.join(model_card.UNKNOWN)}; add them yourself", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(output, lambda partial: partial.write_text(text, "utf-8"))
        click.echo(output)
