"""One float network and the same images for all recipes: who answers what, peers each in a process of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from convert.drift.predictions import Predictions
from convert.images.dataset import ImageSet
from convert.quantization.quantize import QuantizedModel
from convert.statistics.metrics import sqnr_db
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor, open_engine, run_over
from edge_runtime.arrays import Array
from edge_runtime.tensors import centred, dequantize, logits, quantize
from environments import Environment

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Answered:
    """What a network said to the validation images.

    Attributes:
        predictions: its answers.
        logits: before its softmax, centred per image, float64 (images, classes). A softmax in 256 steps keeps little
            of them, so where there is one they are read before it: quantizers are compared, not their ends.
    """

    predictions: Predictions
    logits: Array

    def sqnr_db(self, reference: Answered) -> float:
        """Of the logits of all images together, against those of the float network."""
        return sqnr_db(reference.logits, self.logits)


@dataclass(frozen=True)
class Trial:
    """What all recipes get.

    Attributes:
        folder: has `network.keras` and `float.tflite`, and the images as networks take them, float32 (N, height, width,
            channels): `calibration.npy` and `validation.npy`.
        validation: the images of `validation.npy`.
        labels: of the classes.
    """

    folder: Path
    validation: ImageSet
    labels: tuple[str, ...]

    @property
    def images(self) -> Array:
        """The validation images, mapped from the file."""
        return np.load(self.folder / "validation.npy", mmap_mode="r")

    def answered(self, probabilities: Array) -> Answered:
        """Answers, float (images, classes), of a softmax in float."""
        found = probabilities.astype(np.float32)
        return Answered(Predictions(self.validation.paths, found, self.labels), logits(found))

    def ask_float(self) -> Answered:
        """Ask the float network."""
        engine = open_engine((self.folder / "float.tflite").read_bytes())
        return self.answered(np.stack(list(run_over(engine, self.images))))

    def ask(self, model: bytes) -> Answered:
        """Ask a `.tflite` that takes and returns normalized values, in whatever dtype."""
        graph = TfliteGraph(model)
        before = logits_tensor(graph)
        step = graph.scales(graph.consumers(before)[0].outputs[0])
        engine = open_engine(model) if step is None else RecordingEngine(model)
        fed, end = QuantizedModel(model, "normalized").io_specs
        found, seen = [], []
        for image in self.images:
            tensor = image if fed.scale is None else quantize(image, fed.scale, fed.zero_point or 0, fed.dtype)
            output = engine.run(np.asarray(tensor)[np.newaxis])[0]
            found.append(output if end.scale is None else dequantize(output, end.scale, end.zero_point or 0))
            if isinstance(engine, RecordingEngine):
                seen.append(engine.tensor(before).reshape(-1))
        answered = self.answered(np.stack(found))
        if step is None:
            return answered
        scale, zero_point = graph.quantization(before) or (1.0, 0)
        predictions = Predictions(self.validation.paths, np.float32(found), self.labels, step=float(step[0]))
        return Answered(predictions, centred(dequantize(np.stack(seen), scale, zero_point)))

    def ask_peer(self, script: str, environment: Environment) -> Answered:
        """Let a peer quantize; it leaves a `.tflite` for us to ask, or its own answers.

        Raises:
            click.ClickException: it failed.
        """
        candidate, answers = self.folder / "candidate.tflite", self.folder / "answers.npy"
        for old in (candidate, answers):
            old.unlink(missing_ok=True)
        command = [environment.python(), PEERS / script, self.folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise click.ClickException(f"{script} failed: {done.stderr[-2000:]}")
        return self.answered(np.load(answers)) if answers.exists() else self.ask(candidate.read_bytes())
