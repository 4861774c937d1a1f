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
