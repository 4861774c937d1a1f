"""`irv2-convert --scheduler`: the artifact of one process, from the workers of a dask scheduler."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from convert.system import cluster
from convert.system.installation import install_command
from tests.convert.cli.commands import run_here


@pytest.fixture
def converting(arguments: list[object], tmp_path: Path) -> list[object]:
    return [*arguments, "--no-validate", "--no-config"]


@pytest.mark.usefixtures("lowered_at_once")
def test_the_artifact_is_the_same_byte_for_byte_and_so_is_what_is_cached(
    converting: list[object], two_workers: Any, tmp_path: Path
) -> None:
    mapped, alone, recalled = (tmp_path / name for name in ("mapped", "alone", "recalled"))
    address = two_workers.scheduler_address
    assert run_here("irv2-convert", *converting, "--scheduler", address, "--output-dir", mapped).code == 0
    assert run_here("irv2-convert", *converting, "--no-cache", "--output-dir", alone).code == 0
    again = run_here("irv2-convert", *converting, "--output-dir", recalled)
    assert "calibration: from the cache" in again.err
    (artifact,) = mapped.glob("*.tflite")
    for folder in (alone, recalled):
        assert (folder / artifact.name).read_bytes() == artifact.read_bytes()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_scheduler_that_is_not_there_is_named_before_anything_slow_starts(
    more: tuple[str, ...], converting: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECTION_TIMEOUT_S", 1)
    done = run_here("irv2-convert", *converting, "--scheduler", "tcp://127.0.0.1:1", *more)
    assert done.code == 1
    assert "--scheduler tcp://127.0.0.1:1 cannot be reached" in done.err.splitlines()[-1]
    assert "pass tcp://HOST:PORT of a dask scheduler" in done.err.splitlines()[-1]


def test_without_dask_the_extra_is_named(converting: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run_here("irv2-convert", *converting, "--scheduler", "tcp://x:1")
    assert done.code == 1
    assert done.err.splitlines()[-1].endswith(install_command("cluster"))


@pytest.mark.usefixtures("lowered_at_once")
def test_what_needs_no_calibration_needs_no_scheduler(converting: list[object], tmp_path: Path) -> None:
    more = ("--quantize", "float16", "--scheduler", "tcp://127.0.0.1:1", "--output-dir", tmp_path / "build")
    assert run_here("irv2-convert", *converting, *more).code == 0
