"""What command lines hand to the commands, and what a command does not load."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from convert.cli.options import field_options, limit_options, network_options
from convert.job import Sources, option
from convert.keras_models.sources import ModelSource
from convert.statistics.verdict import Limits


@dataclass(frozen=True)
class Example(Sources):
    """Fields of every type."""

    schemes: tuple[str, ...] = ()
    size: int | None = option(100, "The size.", metavar="N|auto", auto=True)
    count: int = option(7, "The count.")
    kind: str = option("a", "The kind.", choices=("a", "b"))
    output_dir: Path = option(Path("build"), "The folder.")
    careful: bool = option(False, "Be careful.")
    use_cache: bool = option(True, "Keep nothing.", name="no-cache")
    thumbnails: bool = option(True, "Leave thumbnails out.")


def run(decorator: Any, *arguments: str) -> tuple[Result, dict[str, Any]]:
    """A command with some options, and what it was handed."""
    handed: dict[str, Any] = {}

    def command(**options: Any) -> None:
        handed.update(options)

    result = CliRunner().invoke(click.command(decorator(command)), arguments)
    return result, handed


def test_options_that_are_not_given_are_the_defaults_of_the_fields() -> None:
    _, handed = run(field_options(Example))
    assert Example(**handed) == Example()


def test_options_have_the_types_of_the_fields() -> None:
    _, handed = run(
        field_options(Example), "--size", "auto", "--count", "3", "--kind", "b", "--output-dir", "x", "--careful",
        "--no-cache", "--no-thumbnails", "--labels", "l.txt",
    )  # fmt: skip
    assert Example(**handed) == Example(
        size=None, count=3, kind="b", output_dir=Path("x"), careful=True, use_cache=False, thumbnails=False,
        labels=Path("l.txt"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"), [("224", 224), ("224x160", (224, 160)), ("224X160", (224, 160)), ("96x96", 96)]
)
def test_a_size_is_a_square_or_height_and_width(text: str, size: object) -> None:
    given = run(network_options(None), "--model", "m.keras", "--input-size", text)[1]
    assert given is not None
    assert given["network"].input_size == size


@pytest.mark.parametrize("wrong", [("--size", "0"), ("--size", "many"), ("--count", "0"), ("--kind", "c")])
def test_values_that_do_not_fit_are_wrong_usage(wrong: tuple[str, str]) -> None:
    result, _ = run(field_options(Example), *wrong)
    assert result.exit_code == 2
    assert wrong[0] in result.stderr


def test_the_help_shows_what_the_fields_say() -> None:
    result, _ = run(field_options(Example), "--help")
    for text in ("--size N|auto", "The size.", "[default: 100]", "--kind [a|b]", "Keep nothing."):
        assert text in result.stdout


def test_the_network_is_one_value() -> None:
    assert run(network_options("demo"))[1] == {"network": ModelSource()}
    assert run(network_options(None))[1] == {"network": None}
    given = run(network_options(None), "--weights", "w.h5", "--classes", "3", "--input-size", "99")[1]
    assert given == {"network": ModelSource("demo", Path("w.h5"), 3, 99)}
    given = run(network_options(None), "--weights", "w.h5", "--architecture", "article")[1]
    assert given == {"network": ModelSource(weights=Path("w.h5"), architecture="article")}
    assert "--architecture goes with" in run(network_options(None), "--architecture", "article")[0].stderr


def test_limits_are_one_value() -> None:
    assert run(limit_options)[1] == {"limits": Limits()}
    given = run(limit_options, "--max-drop", "1", "--min-agreement", "90%", "--max-top5-drop", "3")[1]
    assert given == {"limits": Limits(1.0, 0.9, 3.0)}


def test_inspect_loads_nothing_of_conversion_or_drift() -> None:
    code = "import sys, convert.cli.inspect; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("convert.")}
    assert {name.split(".")[1] for name in ours} == {"audit", "cli", "errors", "reporting", "tflite"}
    assert {name for name in ours if ".reporting." in name} == {"convert.reporting.formatting"}
