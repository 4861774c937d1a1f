"""A long life, by count: many threads, many answers, many openings; nothing grows, and no answer is another's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.edge_runtime.commands import environment

PROGRAM = Path(__file__).with_name("load.py")
GROWTH = 0.05


def measured(what: str, artifact: Path, *counts: int) -> dict[str, Any]:
    """Run `load.py` in a process of its own, whose memory is nobody else's, and return what it found."""
    command = [sys.executable, PROGRAM, what, artifact, *map(str, counts)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("workers", [1, 2])
def test_ten_thousand_answers_from_eight_threads(artifact_path: Path, workers: int) -> None:
    found = measured("answers", artifact_path, 10_000, 8, workers)
    assert found["answers"] == 10_000
    assert found["wrong"] == 0
    assert found["after"]["resident"] <= (1 + GROWTH) * found["warm"]["resident"], found
    assert found["after"]["descriptors"] == found["warm"]["descriptors"]
    assert found["after"]["threads"] == found["warm"]["threads"]


def test_opened_and_closed_two_hundred_times(artifact_path: Path) -> None:
    found = measured("openings", artifact_path, 200)
    assert found["wrong"] == 0
    assert found["after"]["resident"] <= (1 + GROWTH) * found["warm"]["resident"], found
    assert found["after"]["descriptors"] == found["warm"]["descriptors"]
    assert found["after"]["threads"] == found["warm"]["threads"]


def test_closed_classifiers_give_their_memory_back(artifact_path: Path) -> None:
    """Closed and still referred to, as in a cache of them: it is `close` that counts, not the collector."""
    found = measured("kept", artifact_path, 100)
    assert found["after"]["threads"] == found["warm"]["threads"]
    assert found["after"]["descriptors"] == found["warm"]["descriptors"]
    assert found["after"]["mappings"] <= found["warm"]["mappings"] + 1
