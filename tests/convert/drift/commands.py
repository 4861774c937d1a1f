"""`irv2-drift` in this process, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from convert.cli.drift import drift


def gate(*arguments: object, **environment: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(drift, [str(argument) for argument in arguments], env={"COLUMNS": "160", **environment})


def refused(*arguments: object) -> str:
    """The one line that a command says on its way out."""
    done = gate(*arguments)
    assert done.exit_code == 1, done.output
    line = done.stderr.splitlines()[-1]
    assert "error: " in line
    assert done.stdout == ""
    return line


def report_of(done: Result) -> dict[str, Any]:
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def copied(images: Path, folder: Path) -> Path:
    for path in images.glob("*/*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    return folder
