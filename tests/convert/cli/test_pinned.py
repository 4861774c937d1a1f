"""`--sha256`: every command that opens a model refuses any other file than the pinned one, in one line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import run_command
from tests.convert.cli.commands import run_here
from tests.edge_runtime.tiny_model import tiny_artifact

OTHER = "0" * 64


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_artifact().write(tmp_path / "tiny.tflite")


def commands(artifact: Path) -> list[tuple[object, ...]]:
    """A command line for each that opens a file as a model."""
    return [
        ("irv2-inspect", artifact),
        ("irv2-convert", "verify", artifact),
        ("irv2-convert", "attach", artifact, artifact),
        ("irv2-drift", artifact, "--reference", artifact, "--images", artifact.parent),
        ("irv2-convert", "--model", artifact, "--dry-run"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_another_file_is_refused_in_one_line(number: int, artifact: Path) -> None:
    found = hashlib.sha256(artifact.read_bytes()).hexdigest()
    line = commands(artifact)[number]
    done = run_here(*line, "--sha256", OTHER)  # type: ignore[arg-type]
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"{line[0]}: error: {artifact} has SHA-256 {found}, expected {OTHER}: this is not the file you pinned\n"
    )


@pytest.mark.parametrize("number", range(5))
def test_the_pinned_file_is_opened(number: int, artifact: Path) -> None:
    right = hashlib.sha256(artifact.read_bytes()).hexdigest().upper()
    line = commands(artifact)[number]
    pinned, free = run_here(*line, "--sha256", right), run_here(*line)  # type: ignore[arg-type]
    assert pinned == free


def test_the_reference_of_a_gate_is_pinned_by_itself(artifact: Path) -> None:
    done = run_here(
        *("irv2-drift", artifact, "--reference", artifact, "--images", artifact.parent, "--reference-sha256", OTHER)
    )
    assert done.code == 1
    assert "this is not the file you pinned" in done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("irv2-inspect", "x.tflite", "--sha256", "abc"), "'abc' is not a SHA-256 of 64 hexadecimal digits"),
        (("irv2-convert", "--dry-run", "--sha256", OTHER), "--sha256 pins a file, and none is given"),
    ],
)
def test_what_pins_nothing_is_wrong_usage(line: tuple[str, ...], said: str) -> None:
    done = run_here(*line)
    assert done.code == 2
    assert said in done.err


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run_here("irv2-inspect", tmp_path / "x.tflite", "--sha256", OTHER)
    assert done.code == 1
    assert done.err.startswith(f"irv2-inspect: error: {tmp_path / 'x.tflite'} does not exist")


def test_the_installed_command(artifact: Path) -> None:
    done = run_command("irv2-inspect", artifact, "--sha256", OTHER)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
