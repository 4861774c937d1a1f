"""Intel's OpenVINO behind LiteRT's plugins for it: the way to an NPU, with the one vendor that also has a CPU.

The compiler and the dispatch library are the vendor's own, as for an NPU; there is none here.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.clients.environments import Client
from tests.clients.findings import FOUND, Finding
from tests.conftest import Finished
from tests.edge_runtime.commands import ROOT
from tests.edge_runtime.tiny_model import tiny_artifact

pytestmark = [pytest.mark.slow, pytest.mark.clients]

LITERT = f"ai-edge-litert=={metadata.version('ai-edge-litert')}"
OPENVINO = Client("openvino", "2026.3.1", (LITERT, "ml_dtypes", "pillow"))
"""Of the version that LiteRT's plugin is linked to."""

ON_CPU = "npu:vendor=intel_openvino,device=CPU"


def predict(artifact: Path, picture: Path, delegate: str, cache: Path) -> Finished:
    """`irv2-predict --strict --json` in OpenVINO's environment."""
    python = OPENVINO.python()
    libraries = next((python.parents[1] / "lib").glob("python3*/site-packages/openvino/libs"))
    variables = {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(libraries), "XDG_CACHE_HOME": str(cache)}
    line = ("-m", "edge_runtime", artifact, picture, "--json", "--strict", "--delegate", delegate)
    return OPENVINO.run(*line, **variables)


@pytest.mark.skipif(sys.platform != "linux", reason="LiteRT has Intel's plugins for Linux and Windows")
def test_it_answers_as_the_cpu_does(pictures: list[Path], tmp_path: Path) -> None:
    """A tiny network: the demo in int8, or in bfloat16, is about as far from the CPU's as the probe tolerates."""
    artifact = tiny_artifact().write(tmp_path / "tiny.tflite")
    receipts = []
    for _ in range(2):
        done = predict(artifact, pictures[0], ON_CPU, tmp_path)
        assert done.code == 0, done.err
        receipts.append(json.loads(done.out)["receipt"])
    assert [receipt["active"] for receipt in receipts] == ["npu", "npu"]
    assert [receipt["trial"] for receipt in receipts] == ["passed", "remembered"]
    assert receipts[0]["device"] == "Intel OpenVINO, CPU"
    assert receipts[0]["probe_difference"] < 0.01
    FOUND.append(Finding(OPENVINO.name, artifact.name, f"{ON_CPU}: within {receipts[0]['probe_difference']:.2g}"))


def test_without_an_npu_it_says_what_is_missing(uint8_artifact: Path, pictures: list[Path], tmp_path: Path) -> None:
    done = predict(uint8_artifact, pictures[0], "npu:vendor=intel_openvino", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "libopenvino_intel_npu" in done.err
