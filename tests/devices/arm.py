"""An emulated 64-bit Arm machine, Debian's Python and the aarch64 wheels on qemu; and parts of a model."""

from __future__ import annotations

import hashlib
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
from ai_edge_litert.tools import flatbuffer_utils

from convert.tflite.graph import TfliteGraph
from edge_runtime.artifact import open_artifact
from tests.devices.debian import unpack

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


def arm_machine(cache: Path, wheel: Path) -> Machine:
    """The emulated machine with the built wheel and the same LiteRT as here, kept in a folder."""
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


def integer_part(artifact: Path) -> bytes:
    """242 convolutions of the demo, and what joins them: to the last int8 tensor, where the head goes on in float."""
    model = flatbuffer(artifact)
    graph = TfliteGraph(model)
    features = [read.inputs[0] for read in graph.named("DEQUANTIZE") if not graph.is_constant(read.inputs[0])]
    return cut(model, features[-1])
