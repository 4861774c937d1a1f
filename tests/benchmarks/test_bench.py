"""What is measured, and what the table says of the machine; nothing is timed here."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CPUINFO = """processor	: 0
model name	: Some Processor 9
flags		: fpu avx2 amx_int8 avx512_vnni

processor	: 1
model name	: Another
flags		: fpu
"""


@pytest.fixture
def bench(benchmarks: Path) -> ModuleType:
    """The module."""
    return import_module("bench")


@pytest.fixture
def ground(benchmarks: Path, tmp_path: Path) -> Any:
    """A network's place in a folder of its own; its pictures have 40 x 40 pixels."""
    return import_module("groundwork").Ground(40, tmp_path)


def test_every_piece_of_work_begins_with_ours_and_runs_what_exists(bench: ModuleType) -> None:
    works = list(bench.everything(bench.QUICK))
    titles = [work.title for work in works]
    assert len(set(titles)) == len(titles) == 12
    for work in works:
        names = [contender.name for contender in work.contenders]
        assert names[0].startswith("ours"), work.title
        assert len(set(names)) == len(names) > 1, work.title
        for contender in work.contenders:
            for word in contender.command:
                if str(word).endswith(".py"):
                    assert Path(word).is_file()


def test_the_harness_does_not_import_tensorflow(benchmarks: Path) -> None:
    """It would take memory and time beside what is measured."""
    run = import_module("processes").measure
    code = "import sys; sys.path.insert(0, sys.argv[1]); import bench; sys.exit('tensorflow' in sys.modules)"
    assert run([sys.executable, "-c", code, str(benchmarks)]).code == 0


def test_folder_and_array_of_calibration_images_are_the_same_images(ground: Any, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    ground.write_images(3)
    ground.write_array(3)
    array, paths = np.load(tmp_path / "calibration-3.npy"), sorted((tmp_path / "calibration-3").rglob("*.png"))
    assert array.shape == (3, 40, 40, 3)
    assert array.dtype == np.float32
    assert len(paths) == 3
    in_folder = sorted(np.asarray(Image.open(path), np.float32).mean() / 127.5 - 1 for path in paths)
    assert np.allclose(sorted(array.mean(axis=(1, 2, 3))), in_folder, atol=0.03)


def test_a_peer_starts_in_an_empty_folder(ground: Any, tmp_path: Path) -> None:
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "candidate.tflite").write_bytes(b"of the last turn")
    ground.furnish("peer", 10)
    assert sorted(path.name for path in (tmp_path / "peer").iterdir()) == ["calibration.npy", "network.keras"]


def test_a_processor_is_named_with_the_instructions_that_matter(benchmarks: Path) -> None:
    machine = import_module("machine")
    assert machine.processor(CPUINFO) == "Some Processor 9 (avx2, avx512_vnni, amx_int8)"


STAT = "cpu  {user} 10 {system} {idle} 40 1 2 {stolen} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def test_a_table_says_who_else_had_the_cores(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = import_module("machine")
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    start = machine.core_seconds(STAT.format(user=1000, system=500, idle=9000, stolen=70), ours=3)
    end = machine.core_seconds(STAT.format(user=6000, system=1500, idle=12000, stolen=1070), ours=58)
    assert (start.run, start.stolen) == (pytest.approx(15.13), pytest.approx(0.7))
    # of 100 s of the cores, processes ran 60, of which 55 were ours, and 10 went to other machines
    assert end.all - start.all == pytest.approx(100)
    assert machine.beside(start, end) == (
        "Beside it, other processes of this machine had 5 % of the cores' time, other machines of its host 10 %."
    )


def test_what_we_and_our_children_run_is_not_beside(benchmarks: Path) -> None:
    import subprocess

    machine = import_module("machine")
    start = machine.core_seconds_now()
    subprocess.run([sys.executable, "-c", "sum(range(30_000_000))"], check=True)
    end = machine.core_seconds_now()
    assert 0.1 < end.ours - start.ours <= end.run - start.run + 0.1
    assert end.all > start.all


def test_an_environment_is_made_again_when_its_requirements_change(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environments = import_module("environments")
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    asked: list[tuple[str, ...]] = []

    def run(command: list[object], check: bool) -> None:
        asked.append(tuple(map(str, command[1:])))
        (tmp_path / "p").mkdir(exist_ok=True)

    monkeypatch.setattr(environments.subprocess, "run", run)
    for requirements in (("a",), ("a",), ("a", "b")):
        environments.Environment("p", requirements, ()).make()
    installed = [words[-2:] for words in asked if "pip" in words]
    assert installed == [("--disable-pip-version-check", "a"), ("a", "b")]
