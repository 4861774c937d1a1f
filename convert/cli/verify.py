"""`irv2-convert verify`: is an artifact what its card says?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.cli.console import standard_output
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import VERIFIED, exit_codes
from convert.cli.options import FILE, field_options, network_options
from convert.cli.pinned import pinned
from convert.cli.progress import TerminalProgress
from convert.job import Sources
from convert.keras_models.sources import ModelSource
from convert.reporting.outcome import as_text
from edge_runtime.console import printable
from edge_runtime.custom_operators import COMPILED_FROM

if TYPE_CHECKING:  # it imports the whole pipeline
    from convert.verify import Verification

NOT_VERIFIED = 3
INPUT_STYLES = {"same": "green", "changed": "bold red", "not given": "dim", "not recorded": "yellow"}
"""State of an input of an artifact -> its style."""


@click.command(epilog=exit_codes(VERIFIED))
@click.argument("artifact", type=FILE)
@network_options(default_model=None)
@field_options(Sources)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@one_line_errors
@pinned("artifact")
def verify(artifact: Path, network: ModelSource | None, as_json: bool, **sources: Any) -> None:
    """Check the checksums of ARTIFACT; given its sources, show which have changed, or build it again and compare.

    What its card records (calibrator, sizes, limits) is taken from there.
    """
    from convert.verify import verify as run

    with TerminalProgress(Console(stderr=True)) as progress:
        found = run(artifact, network, Sources(**sources), progress)
    if as_json:
        click.echo(as_text(found.to_json()))
    else:
        _show_verification(standard_output(), found)
    sys.exit(0 if found.holds else NOT_VERIFIED)


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
        is_given = any(each.name == "weights" and each.found for each in found.inputs)
        options = [*([] if is_given else ["--model or --weights"]), *(f"--{name}" for name in found.not_given)]
        return f"nothing that was given has changed; not built again: pass {', '.join(options)} as well"
    if found.identical:
        return "built again: identical, byte for byte"
    return f"built again: differs in {', '.join(found.differences or ['the archive at its end'])}"
