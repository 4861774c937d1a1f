"""What a killed conversion leaves in the cache is whole: the next one goes on from there, to the same artifact."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from convert.cache.store import Cache
from tests.interrupted.harness import Command, Run, finish, interrupted

pytestmark = pytest.mark.slow


def test_killed_conversions_leave_a_cache_that_can_be_trusted(
    cached_conversion: Command, converted: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = cached_conversion.plus("--output-dir", out)
    for part in (0.5, 0.6, 0.7):
        interrupted(command, out, signal.SIGKILL, part * converted.seconds)
    assert all(entry.kind != "damaged" for entry in Cache(tmp_path / "cache", 0).entries())
    expected = (converted.folder / "tiny.int8.tflite").read_bytes()
    for _ in range(2):
        run = finish(command, out)
        assert run.code == 0, run.err
        assert "damaged" not in run.err
        assert (out / "tiny.int8.tflite").read_bytes() == expected
    assert run.err.count("from the cache") == 7, "all that is kept"
