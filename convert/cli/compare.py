"""`irv2-convert compare`: what differs between two artifacts, or their reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from convert.cli.console import standard_output
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.cli.options import FILE
from convert.cli.progress import TerminalProgress
from convert.reporting.described import Described, describe, known_keys
from convert.reporting.differences import differences
from convert.reporting.outcome import as_text


@click.command(epilog=exit_codes(DONE))
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.option("--images", type=FILE, metavar="DIR", help="Also compare what both artifacts answer to these images.")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.option("--html", type=FILE, metavar="FILE", help="Write them as an HTML page.")
@one_line_errors
def compare(a: Path, b: Path, images: Path | None, as_json: bool, html: Path | None) -> None:
    """Show what differs between A and B: figures, options, labels, layers, and with --images, answers.

    Each is an artifact, whose report beside it is read, too, or a report alone (.report.json). It compares, it does not
    judge: irv2-drift does.
    """
    from convert.reporting import differences_shown  # which draws pages

    sides = (describe(a), describe(b))
    answers = None if images is None else _answers(*sides, images)
    with known_keys(a), known_keys(b):
        found = differences(*sides, answers)
        if html is not None:
            from convert.reporting.html import write

            write(differences_shown.render(found), html)
        if as_json:
            click.echo(as_text(found.to_json()))
        else:
            differences_shown.print_differences(standard_output(), found)


def _answers(a: Described, b: Described, images: Path) -> dict[str, Any]:
    """Return the drift of b from a on a folder of images."""
    from convert.drift.run import DriftRequest, run
    from convert.statistics.verdict import Limits

    if a.artifact is None or b.artifact is None:
        raise click.UsageError(
            f"--images needs two artifacts: there is none beside {(a if a.artifact is None else b).path}"
        )
    request = DriftRequest(candidate=b.artifact, reference=a.artifact, images=images)
    with TerminalProgress(Console(stderr=True)) as progress:
        found = run(request, Limits(), stop_early=False, progress=progress)
    return dict(found.report["drift"])
