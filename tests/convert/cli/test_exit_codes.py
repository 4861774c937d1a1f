"""Exit codes are told in one way: by every help, and by the contracts."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import run

import pytest

from convert.cli.exit_codes import AUDITED, DONE, JUDGED, VERIFIED
from convert.cli.subcommands import SUBCOMMANDS
from convert.reporting.outcome import EXIT_CODES
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from edge_runtime import _cli
from tests.conftest import run_command
from tests.convert.cli.commands import run_here

OF_COMMANDS = {
    "irv2-convert": JUDGED,
    "irv2-drift": JUDGED,
    "irv2-drift merge": JUDGED,
    "irv2-inspect": AUDITED,
    "irv2-convert verify": VERIFIED,
    "irv2-predict": _cli.EXIT_CODES,
    "irv2-benchmark": _cli.EXIT_CODES,
}
EDGE = ("irv2-predict", "irv2-benchmark")


@pytest.mark.parametrize("command", [*OF_COMMANDS, *(f"irv2-convert {name}" for name in SUBCOMMANDS)])
def test_every_help_says_what_the_exit_codes_mean(command: str) -> None:
    finished = (run_command if command in EDGE else run_here)(*command.split(), "--help")
    said = " ".join(finished.out.split()).replace("- -", "--").lower()
    listed = ", ".join(f"{code} {what}" for code, what in sorted(OF_COMMANDS.get(command, DONE).items()))
    assert f"exit codes: {listed.lower()}" in said


def test_the_contracts_say_the_same() -> None:
    page = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)
    tables: list[Mapping[int, str]] = [JUDGED, VERIFIED, DONE, AUDITED, _cli.EXIT_CODES]
    cells = {int(code): [cell.strip().replace("`", "") for cell in line.split("|")] for code, line in rows}
    assert cells == {code: [table.get(code, "") for table in tables] for code in sorted(JUDGED)}


def test_the_verdicts_have_the_codes_of_the_table() -> None:
    meanings = {PASS: "the gate passed", FAIL: "drift over a limit", INCONCLUSIVE: "too few images to tell"}
    assert {JUDGED[code]: verdict for verdict, code in EXIT_CODES.items()} == {v: k for k, v in meanings.items()}


@pytest.mark.parametrize("command", ["irv2-convert", "irv2-drift", "irv2-inspect", *EDGE])
def test_every_command_says_its_version(command: str) -> None:
    from importlib.metadata import version

    finished = run_command(command, "--version")
    assert (finished.code, finished.out, finished.err) == (0, f"{command} {version('irv2-edge')}\n", "")


def test_the_package_is_the_command() -> None:
    done = run([sys.executable, "-m", "convert", "cache", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: irv2-convert cache")
