"""`irv2-convert verify`: is an artifact what its card says, and do its sources still give it?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.cli.options import FILE, one_line_errors, source_options
from convert.keras_models.sources import DEMO, ModelSource
from convert.reporting.outcome import as_text
from edge_runtime.console import printable

if TYPE_CHECKING:  # it imports the whole pipeline
    from convert.verify import Sources, Verification

DIFFERS = 3
STYLES = {"same": "green", "changed": "bold red", "not given": "dim", "not recorded": "yellow"}


@click.command()
@click.argument("artifact", type=FILE)
@source_options(default_model=None)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@one_line_errors
def verify(artifact: Path, as_json: bool, **options: Any) -> None:
    """Check the hashes of ARTIFACT; with its sources, say which of them changed, or whether they give it again.

    All that its card recorded (calibrator, sizes, limits) is done as it was then.

    Exit code: 0 nothing differs, 1 an error or a damaged file, 2 wrong usage, 3 an input or a byte differs.
    """
    from convert.cli.progress import TerminalProgress
    from convert.verify import verify as run

    with TerminalProgress(Console(stderr=True)) as progress:
        found = run(artifact, _sources(options), progress)
    if as_json:
        click.echo(as_text(found.to_json()))
    else:
        _show(Console(), found)
    sys.exit(0 if found.holds else DIFFERS)


def _sources(options: dict[str, Any]) -> Sources:
    from convert.verify import Sources

    network = None
    alone = next((name for name in ("classes", "input_size") if options[name] is not None), None)
    if alone is not None and options["model"] is None and options["weights"] is None:
        raise click.UsageError(f"--{alone.replace('_', '-')} goes with --model or --weights")
    if options["model"] is not None or options["weights"] is not None:
        network = ModelSource(options["model"] or DEMO, options["weights"], options["classes"], options["input_size"])
    return Sources(network, options["preprocessing"], options["labels"], options["calibration"], options["validation"])


def _show(console: Console, found: Verification) -> None:
    """A line for each input, and what they come to."""

    def say(text: str) -> None:
        console.print(escape(printable(text)), highlight=False, soft_wrap=True)

    say(f"{found.artifact.path}: checksums of flatbuffer, labels and card hold")
    if found.inputs:
        table = Table("input", "recorded", "found", "", box=None, pad_edge=False)
        for each in found.inputs:
            cells = (printable(each.recorded or "-"), printable(each.found or "-"))
            table.add_row(each.name, *map(escape, cells), f"[{STYLES[each.state]}]{each.state}[/]")
        console.print(table)
    say(_conclusion(found))


def _conclusion(found: Verification) -> str:
    if not found.inputs:
        return "not built again: pass its sources, --model or --weights first"
    if found.changed:
        return f"changed: {', '.join(found.changed)}; not built again"
    if found.identical is None:
        return "nothing that was given has changed; not built again: pass --model or --weights, too"
    if found.identical:
        return "built again: identical, byte for byte"
    return f"built again: differs in {', '.join(found.differences or ['the archive at its end'])}"
