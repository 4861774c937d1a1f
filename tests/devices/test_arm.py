"""The runtime on a 64-bit Arm processor, as on a Raspberry Pi: Debian's Python and the aarch64 wheels, emulated.

What is seen here is what is computed, not how fast: an emulated processor says nothing about time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import logits_tensor
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import load_pixels
from tests.devices.debian import unpack

pytestmark = [pytest.mark.slow, pytest.mark.arm]

PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")
PROCESSOR = "neoverse-n1"
CPUINFO = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
"""Of that processor. Without it the runtime reads this machine's own, and its CPU detection crashes."""

INFER = """if True:
    import sys
    import numpy
    from edge_runtime.engines import Engine, choose_engine
    model, tensors, answers = sys.argv[1:]
    engine = Engine(model, choose_engine("litert"), 2)
    numpy.save(answers, numpy.concatenate([engine.run(tensor) for tensor in numpy.load(tensors)]))
"""


@dataclass(frozen=True)
class Machine:
    """A Python with the runtime, on this processor or on an emulated one."""

    python: Sequence[str | Path]
    packages: Path | None = None

    def run(self, *arguments: object) -> str:
        """What `python ARGUMENTS` prints."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = os.fspath(self.packages) if self.packages else os.pathsep.join(sys.path)
        done = subprocess.run(
            [*self.python, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=600,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def infer(self, model: bytes, tensors: npt.NDArray[Any], folder: Path) -> npt.NDArray[Any]:
        """The outputs of a model for a stack of input tensors, (images, 1, ...), as the runtime's engine gives them."""
        folder.mkdir()
        (folder / "model.tflite").write_bytes(model)
        np.save(folder / "tensors.npy", tensors)
        self.run("-c", INFER, folder / "model.tflite", folder / "tensors.npy", folder / "answers.npy")
        return np.asarray(np.load(folder / "answers.npy"))


@pytest.fixture(scope="session")
def here() -> Machine:
    """This machine, with the installed packages and the checkout."""
    return Machine([sys.executable])


@pytest.fixture(scope="session")
def arm(request: pytest.FixtureRequest, wheel: Path) -> Machine:
    """An emulated Arm machine with the built wheel and the same LiteRT as here; kept in pytest's cache."""
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("arm")
    emulator = min(unpack(["qemu-user-static"], cache / "emulator").glob("usr/bin/qemu-aarch64*"))  # the other is _be
    root = unpack(["python3", "libstdc++6"], cache / "debian", "arm64")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
    python = next(path for path in (root / "usr" / "bin").glob("python3.*") if path.name.count(".") == 1)
    version = python.name.removeprefix("python")
    packages = install(wheel, version, cache / f"packages-{version}")
    return Machine([emulator, "-cpu", PROCESSOR, "-L", root, python], packages)


def install(wheel: Path, version: str, folder: Path) -> Path:
    """The folder with the wheel and what it depends on, for aarch64; filled again when the wheel changes."""
    installed, digest = folder / "installed", hashlib.sha256(wheel.read_bytes()).hexdigest()
    if not installed.exists() or installed.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", folder]
        command += [f"--platform={platform}_aarch64" for platform in PLATFORMS]
        command += [f"--python-version={version}", "--implementation=cp"]
        litert = metadata.version("ai-edge-litert")
        subprocess.run([*command, wheel, f"ai-edge-litert=={litert}"], check=True)
        installed.write_text(digest)
    return folder


@pytest.fixture(scope="session")
def tensors(int8_artifact: Path, pictures: list[Path]) -> npt.NDArray[np.uint8]:
    """(images, 1, height, width, 3): the pictures as the artifact takes them, which is as they are."""
    card = open_artifact(int8_artifact).card
    assert (card.input.dtype, card.input.encoding) == ("uint8", "pixels")
    return np.stack([load_pixels(picture, card.preprocessing)[np.newaxis] for picture in pictures])


def cut(model: bytes, tensor: int) -> bytes:
    """The model as far as it is needed for one tensor, which becomes its output."""
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = content.subgraphs[0]
    last = next(i for i, operator in enumerate(graph.operators) if tensor in operator.outputs)
    graph.operators, graph.outputs, content.signatureDefs = graph.operators[: last + 1], [tensor], None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def flatbuffer(artifact: Path) -> bytes:
    """The artifact without the archive at its tail."""
    return artifact.read_bytes()[: open_artifact(artifact).flatbuffer_bytes]


def test_it_is_another_architecture(arm: Machine, here: Machine) -> None:
    question = ["-c", "import platform; print(platform.machine())"]
    assert arm.run(*question) == "aarch64\n" != here.run(*question)


def test_predict_names_the_same_five_classes(
    arm: Machine, here: Machine, int8_artifact: Path, pictures: list[Path]
) -> None:
    command = ["-m", "edge_runtime", int8_artifact, *pictures, "--json", "--threads", 2]
    there, ours = ([json.loads(line) for line in machine.run(*command).splitlines()] for machine in (arm, here))
    assert len(there) == len(pictures)
    for answer, expected in zip(there, ours, strict=True):
        assert [p["label"] for p in answer["predictions"]] == [p["label"] for p in expected["predictions"]]
        assert answer["receipt"]["version"] == expected["receipt"]["version"]


def test_all_that_is_integer_is_bit_identical(
    arm: Machine, here: Machine, int8_artifact: Path, tensors: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """242 convolutions, and what joins them: the last int8 tensor, before the head goes on in float."""
    model = flatbuffer(int8_artifact)
    graph = TfliteGraph(model)
    features = [read.inputs[0] for read in graph.named("DEQUANTIZE") if not graph.is_constant(read.inputs[0])]
    trunk = cut(model, features[-1])
    there, ours = arm.infer(trunk, tensors, tmp_path / "arm"), here.infer(trunk, tensors, tmp_path / "here")
    assert (there.dtype, len(there)) == (np.int8, len(tensors))
    assert len(np.unique(there)) > 50, "it must be able to differ"
    np.testing.assert_array_equal(there, ours)


def test_the_float_head_agrees_to_rounding(
    arm: Machine, here: Machine, int8_artifact: Path, tensors: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """Float sums of 2,144 products are taken in another order where vectors have another length.

    Measured on five pictures: 1.3e-6 in a probability; a logit of 20 alone has steps of 2e-6.
    """
    model = flatbuffer(int8_artifact)
    head = cut(model, logits_tensor(TfliteGraph(model)))
    there, ours = arm.infer(head, tensors, tmp_path / "arm"), here.infer(head, tensors, tmp_path / "here")
    print("logits differ by", np.abs(there - ours).max(), "of", np.abs(ours).max())
    np.testing.assert_allclose(there, ours, rtol=0, atol=1e-4)
    there, ours = arm.infer(model, tensors, tmp_path / "arm-p"), here.infer(model, tensors, tmp_path / "here-p")
    print("probabilities differ by", np.abs(there - ours).max())
    np.testing.assert_allclose(there, ours, rtol=0, atol=5e-6)
    with Classifier.open(int8_artifact) as classifier:
        np.testing.assert_array_equal(ours[0], classifier.run(tensors[0, 0]))
