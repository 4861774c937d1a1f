"""Google's benchmark of a model, `ai_edge_litert.tools.benchmark_litert_model` of the LiteRT wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.environments import Client
from tests.clients.findings import FOUND, Finding

pytestmark = [pytest.mark.slow, pytest.mark.clients]

LITERT = Client("ai-edge-litert", "2.3.0", ("pillow",), (3, 13))
RUNS = 10


@pytest.mark.parametrize("ends", ["uint8", "float"])
def test_the_benchmark_tool_times_our_artifacts(ends: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """It goes through CompiledModel, by our signature, and feeds noise; what it measures here is no benchmark."""
    artifact: Path = request.getfixturevalue(f"{ends}_artifact")
    options = {"model": artifact, "num_runs": RUNS, "warmup_runs": 1, "result_json": tmp_path / "result.json"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    done = LITERT.run("-m", "ai_edge_litert.tools.benchmark_litert_model", *arguments)
    assert done.code == 0, done.err[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    FOUND.append(
        Finding(f"{LITERT.name}, benchmark_litert_model", artifact.name, f"runs {result['signature']} {RUNS} times")
    )
    assert (result["signature"], result["accelerators"]) == ("serving_default", ["CPU"])
    assert result["latency"]["num_runs"] == RUNS
    assert result["latency"]["min_ms"] > 0
