"""Arm's compiler for the Ethos-U: what it makes of our artifact is read, gets its card back, and is asked of hardware.

The compiler is Arm's own; of the hardware there is a stand-in, which computes what was compiled as LiteRT does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convert.tflite.graph import TfliteGraph
from edge_runtime import Classifier, EngineError
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import load_pixels
from tests.clients.environments import Client
from tests.clients.findings import FOUND, Finding
from tests.conftest import run_command
from tests.edge_runtime.compiled_models import ETHOS_U, hardware_for
from tests.edge_runtime.plugins import COMPILER, SOURCE, compile_library

pytestmark = [pytest.mark.slow, pytest.mark.clients]

VELA = Client("ethos-u-vela", "5.2.0")
PICTURES = 10


@pytest.fixture(scope="module")
def compiled(uint8_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the demo's int8 artifact for an Ethos-U65."""
    folder = tmp_path_factory.mktemp("vela")
    device = ("--accelerator-config", "ethos-u65-256")
    done = VELA.run("-m", "ethosu.vela", uint8_artifact, *device, "--output-dir", folder)
    assert done.code == 0, done.err
    return next(folder.glob("*_vela.tflite"))


@pytest.fixture(scope="module")
def attached(uint8_artifact: Path, compiled: Path) -> Path:
    """Give the compiled file its card."""
    output = compiled.with_name("attached.tflite")
    finished = run_command("irv2-convert", "attach", uint8_artifact, compiled, "--output", output)
    assert finished.code == 0, finished.err
    return output


def test_it_says_what_it_is(compiled: Path, attached: Path) -> None:
    finished = run_command("irv2-inspect", attached)
    assert finished.code == 0, finished.err
    assert "for an Arm Ethos-U: pass --delegate libethosu_delegate.so" in " ".join(finished.out.split())
    assert "checksums hold" in finished.out
    assert attached.read_bytes().startswith(compiled.read_bytes())
    with pytest.raises(EngineError, match="is compiled for an Arm Ethos-U"):
        Classifier.open(attached)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler called cc")
def test_on_hardware_it_answers_as_before(
    uint8_artifact: Path, attached: Path, pictures: list[Path], tmp_path: Path
) -> None:
    before, after = (
        TfliteGraph(path.read_bytes()[: open_artifact(path).flatbuffer_bytes]) for path in (uint8_artifact, attached)
    )
    (custom,) = (operator for operator in after.operators if operator.custom == ETHOS_U)
    (last,) = (after.tensor_name(i) for i in custom.outputs)
    names = [[before.tensor_name(i) for i in operator.outputs] for operator in before.operators]
    part = slice(0, names.index([last]) + 1)
    flatbuffer = uint8_artifact.read_bytes()[: open_artifact(uint8_artifact).flatbuffer_bytes]
    with (
        hardware_for(flatbuffer, part, compile_library(SOURCE, tmp_path)) as hardware,
        Classifier.open(attached, delegate=hardware) as there,
        Classifier.open(uint8_artifact, delegate="cpu") as here,
    ):
        assert there.receipt.probe_difference == pytest.approx(0, abs=1e-5)
        assert there.receipt.unverified is None
        shown = [load_pixels(path, here.spec) for path in pictures[:PICTURES]]
        np.testing.assert_allclose([there.run(each) for each in shown], [here.run(each) for each in shown], atol=1e-5)
    FOUND.append(Finding(VELA.name, uint8_artifact.name, "compiles; a stand-in for its hardware runs that"))
