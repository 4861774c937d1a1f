"""Whenever a command is stopped, what it leaves is whole, or swept away by the next run.

A few moments in `make test`, forty in `make fuzz`.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from convert.drift import stored_predictions
from tests.edge_runtime.tiny_model import LABELS, SIZE, tiny_artifact
from tests.interrupted.harness import Command, Run, check_ending, check_whole, finish, hidden, interrupted

SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)


def moments(count: int, seed: int = 5) -> list[tuple[signal.Signals, float]]:
    """Signals in turn, each at a random moment (0 to 1) of its own part of a run."""
    parts = np.random.default_rng(seed).permutation(count)
    within = np.random.default_rng(seed + 1).uniform(0, 1, count)
    return [
        (SIGNALS[i % len(SIGNALS)], float((part + place) / count))
        for i, (part, place) in enumerate(zip(parts, within, strict=True))
    ]


def interrupt_conversions(conversion: Command, converted: Run, folder: Path, count: int) -> None:
    """Stop it again and again, over an earlier result; then let it end."""
    out, temporary = folder / "out", folder / "tmp"
    shutil.copytree(converted.folder, out)
    temporary.mkdir()
    command = conversion.plus("--output-dir", out)
    command.environment["TMPDIR"] = str(temporary)
    stopped, seconds = 0, converted.seconds
    for number, share in moments(count):
        before = {*hidden(out), *hidden(temporary)}  # of runs that were killed: this one may end before it sweeps
        run = interrupted(command, out, number, share * seconds)
        if run.code == 0:
            seconds = run.seconds  # the machine is quicker now than it was
        check_ending(run, number)
        check_whole(out)
        assert (out / "tiny.int8.tflite").is_file(), "the earlier artifact, or the new one"
        if number != signal.SIGKILL:
            assert {*hidden(out), *(path.name for path in temporary.iterdir())} <= before
        stopped += run.code != 0
    assert stopped > count / 2
    run = finish(command, out)
    assert run.code == 0, run.err
    check_whole(out)
    assert {path.name for path in out.iterdir()} == {path.name for path in converted.folder.iterdir()}
    assert (out / "tiny.int8.tflite").read_bytes() == (converted.folder / "tiny.int8.tflite").read_bytes()


@pytest.mark.slow
def test_a_conversion_stopped_at_some_moments(conversion: Command, converted: Run, tmp_path: Path) -> None:
    interrupt_conversions(conversion, converted, tmp_path, 8)


@pytest.mark.fuzz
def test_a_conversion_stopped_at_forty_moments(conversion: Command, converted: Run, tmp_path: Path) -> None:
    interrupt_conversions(conversion, converted, tmp_path, 40)


def gate_command(folder: Path) -> Command:
    """`irv2-drift` with everything that it can write."""
    artifact = tiny_artifact().write(folder / "tiny.tflite")
    random = np.random.default_rng(3)
    for channel, label in enumerate(LABELS):
        (folder / "images" / label).mkdir(parents=True)
        for i in range(60):
            pixels = random.integers(0, 100, (SIZE, SIZE, 3), np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder / "images" / label / f"{i:02}.png")
    out = folder / "out"
    written = ("--save-reference", out / "answers.npz", "--html", out / "page.html", "--junit", out / "drift.xml")
    return Command(
        "irv2-drift",
        (
            artifact,
            "--reference",
            artifact,
            "--images",
            folder / "images",
            "--max-drop",
            5,
            "--no-stop-early",
            *written,
        ),
    )


def interrupt_gates(folder: Path, count: int) -> None:
    """Stop `irv2-drift` again and again."""
    command, out = gate_command(folder), folder / "out"
    command.environment["TMPDIR"] = str(folder / "tmp")
    (folder / "tmp").mkdir()
    whole = finish(command, out)
    assert whole.code == 0, whole.err
    for number, share in moments(count):
        before = {*hidden(out), *hidden(folder / "tmp")}
        run = interrupted(command, out, number, share * whole.seconds)
        check_ending(run, number)
        check_whole(out)
        stored_predictions.load(out / "answers.npz")
        ElementTree.parse(out / "drift.xml")
        if number != signal.SIGKILL:
            assert {*hidden(out), *hidden(folder / "tmp")} <= before
    assert finish(command, out).code == 0
    assert {path.name for path in out.iterdir()} == {"answers.npz", "page.html", "drift.xml"}
    assert hidden(folder / "tmp") == []


@pytest.mark.slow
def test_a_gate_stopped_at_some_moments(tmp_path: Path) -> None:
    interrupt_gates(tmp_path, 6)


@pytest.mark.fuzz
def test_a_gate_stopped_at_forty_moments(tmp_path: Path) -> None:
    interrupt_gates(tmp_path, 40)
