"""Who is measured: our commands, and four peers as a table, each in its own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import calibration_data
from comparison import Contender, last_json
from environments import AI_EDGE, ONNXRUNTIME, OPENVINO, OURS, Environment
from groundwork import CACHE, FOLDER, GROUND, LARGE, PICTURE, PICTURED, STORED, Ground, empty_cache
from processes import Usage

PEERS = Path(__file__).parent / "peers"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
LITERT = "run_litert.py"
JUDGED = (0, 3, 4)
"""Exit codes of a drift check that was made, whatever it found."""


@dataclass(frozen=True)
class Peer:
    """Another way to int8.

    Attributes:
        name: in the table.
        folder: where its script finds network and images, and leaves its models.
        environment: that it runs in.
        script: from Keras to int8, in `PEERS`.
        candidate: the int8 model it leaves.
        runner: the script, in `PEERS`, that classifies with it.
        floats: name and file of the float models it leaves, each with what its runner is told beyond.
    """

    name: str
    folder: str
    environment: Environment
    script: str
    candidate: str
    runner: str
    floats: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def converts(self, images: int, ground: Ground = GROUND) -> Contender:
        """From Keras to int8."""
        command = (self.environment.python(), PEERS / self.script, ground.folder / self.folder)

        def furnished() -> None:
            self.environment.make()
            ground.furnish(self.folder, images)

        return Contender(self.name, command, QUIET, furnished)

    def classifies(self, name: str, model: str, threads: int, runs: int, *more: str) -> Contender:
        """One picture, `runs` times more."""
        return runs_model(self.runner, self.environment, name, FOLDER / self.folder / model, threads, runs, *more)


TABLE = (
    Peer("TFLiteConverter", "tflite", OURS, "tflite_converter.py", "candidate.tflite", LITERT),
    Peer(
        "TFLiteConverter and ai-edge-quantizer",
        "ai-edge",
        AI_EDGE,
        "ai_edge_quantizer_from_keras.py",
        "candidate.tflite",
        LITERT,
        (("TFLiteConverter on LiteRT", "float.tflite", ()),),
    ),
    Peer(
        "OpenVINO and NNCF",
        "openvino",
        OPENVINO,
        "nncf_from_keras.py",
        "candidate.xml",
        "run_openvino.py",
        (
            ("OpenVINO, as it comes (bfloat16 where the processor has it)", "float.xml", ()),
            ("OpenVINO, float32", "float.xml", ("f32",)),
        ),
    ),
    Peer(
        "tf2onnx and ONNX Runtime",
        "onnxruntime",
        ONNXRUNTIME,
        "onnxruntime_static.py",
        "candidate.onnx",
        "run_onnxruntime.py",
        (("ONNX Runtime", "float.onnx", ()),),
    ),
)
INT8, FLOAT = GROUND.int8, GROUND.float


def ours(
    name: str, images: int, options: tuple[str, ...] = (), before: object = None, ground: Ground = GROUND
) -> Contender:
    """`irv2-convert` of the Keras file."""
    command = (tool("irv2-convert"), "--model", ground.network, "--preprocessing", "tf")
    command += ("--labels", FOLDER / "labels.txt", "--calibration", ground.calibration(images))
    command += ("--calibration-size", str(images), "--no-validate", "--output-dir", ground.folder / "ours", *options)
    return Contender(name, command, CACHE, before if callable(before) else lambda: None)


def bundled(name: str, images: int) -> Contender:
    """`irv2-convert` of the bundled demo, which writes no name that others read."""
    command = (tool("irv2-convert"), "--calibration", GROUND.calibration(images), "--no-validate")
    return Contender(name, (*command, "--output-dir", FOLDER / "bundled"), CACHE, empty_cache)


def make_models(images: int, ground: Ground = GROUND) -> None:
    """Convert the Keras file to int8 and to float, where no conversion that is measured has done so."""
    for scheme, model in (("int8", ground.int8), ("none", ground.float)):
        if not model.exists():
            command = ours("", images, ("--quantize", scheme), ground=ground).command
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, **CACHE})


def judges(name: str, images: int, *options: str | Path) -> Contender:
    """`irv2-drift` of the int8 model at the size of the article's pictures, to the last image."""
    command = (tool("irv2-drift"), LARGE.int8, "--images", LARGE.judged, "--images-size", str(images), *options)
    return Contender(name, (*command, "--no-stop-early"), accepted=JUDGED)


def store() -> None:
    """Store the float model's answers, once."""
    if STORED.exists():
        return
    command = (tool("irv2-drift"), "--save-reference", STORED, "--reference", FLOAT)
    subprocess.run((*command, "--images", calibration_data.VALIDATION), check=True, capture_output=True)


def runs_model(
    runner: str, environment: Environment, name: str, model: Path, threads: int, runs: int, *more: str
) -> Contender:
    """A script that classifies one picture, `runs` times more."""
    command = (environment.python(), PEERS / runner, model, PICTURE, str(threads), str(runs), *more)
    return Contender(name, command, QUIET, environment.make, needs=model)


def says_what_is_pictured(usage: Usage) -> None:
    """Raise `ValueError` when a model does not know the picture: no use in its being fast."""
    if (answer := last_json(usage)["class"]) != PICTURED:
        raise ValueError(f"class {answer}, not {PICTURED}")


def tool(name: str) -> Path:
    """A command of ours."""
    return Path(sys.executable).with_name(name)
