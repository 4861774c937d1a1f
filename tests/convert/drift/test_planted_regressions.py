"""The gate finds what is wrong with a quantized network, and nothing where nothing is: on the bundled pictures.

The network is one fully connected layer over 14 x 14 pixels, fitted here in closed form; quantized, its weights are
int8 and the runtime quantizes its activations. What is planted is what goes wrong in practice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema

import calibration_data
from convert.drift.models import open_model
from convert.drift.predictions import Predictions, predict_all, true_answers
from convert.images.dataset import ImageSet, find_images
from convert.images.reader import PixelReader
from convert.statistics.verdict import (
    ANYTIME,
    FAIL,
    INTERVALS,
    PASS,
    DiscordantPairs,
    Limits,
    PairedCounts,
    is_certain,
    judge_counts,
)
from convert.system.progress import Silent
from edge_runtime import InputSpec
from edge_runtime.preprocess import normalize
from edge_runtime.specs import TensorSpec
from tests.convert.drift.commands import gate, report_of
from tests.edge_runtime.tiny_model import _Graph, tiny_artifact

Array = npt.NDArray[Any]
SPEC = InputSpec(14, 14, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
WRONG_SCALING = replace(SPEC, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
WIDTH = 14 * 14 * 3
LIMITS = ("--max-drop", 3, "--min-agreement", 95)
RUNS = 200


@dataclass(frozen=True)
class Fitted:
    """A layer: weights float32 (classes, width) and bias (classes,), and what the classes are called."""

    weights: Array
    bias: Array
    labels: tuple[str, ...]


@pytest.fixture(scope="module")
def validation() -> ImageSet:
    return find_images(calibration_data.VALIDATION).shuffled()


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """Ridge regression on the 200 calibration pictures, tinted so that the order of channels matters."""
    images = find_images(calibration_data.CALIBRATION)
    assert images.folders is not None
    labels = tuple(sorted(set(images.folders)))
    pixels = [picture for _, picture in PixelReader(SPEC).read(images)]
    x = np.stack([normalize(picture, SPEC).ravel() for picture in pixels]).astype(np.float64)
    x += np.random.default_rng(0).normal(0, 0.2, x.shape)
    wanted = 8 * np.eye(len(labels))[[labels.index(folder) for folder in images.folders]]
    centre = x.mean(axis=0)
    weights = np.linalg.solve((x - centre).T @ (x - centre) + 40 * np.eye(WIDTH), (x - centre).T @ wanted)
    return Fitted(weights.T.astype(np.float32), (wanted.mean(axis=0) - centre @ weights).astype(np.float32), labels)


def flatbuffer(layer: Fitted, weights: Array, scale: float | None) -> bytes:
    """RESHAPE -> FULLY_CONNECTED -> SOFTMAX; int8 weights have a scale."""
    graph = _Graph()
    image = graph.tensor("image", (1, 14, 14, 3))
    flat, logits = graph.tensor("flat", (1, WIDTH)), graph.tensor("logits", (1, len(layer.labels)))
    probabilities = graph.tensor("probabilities", (1, len(layer.labels)))
    graph.operator(
        schema.BuiltinOperator.RESHAPE, [image, graph.constant("shape", np.array([1, WIDTH], np.int32))], flat
    )
    kernel = graph.constant("weights", weights)
    if scale is not None:
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [scale], [0]
        graph._subgraph.tensors[kernel].quantization = quantization
    inputs = [flat, kernel, graph.constant("bias", layer.bias)]
    graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, inputs, logits, schema.FullyConnectedOptionsT())
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], probabilities, softmax)
    return graph.to_bytes(image, probabilities)


def write(path: Path, content: bytes, labels: Sequence[str], spec: InputSpec = SPEC) -> Path:
    """As an artifact."""
    tiny = tiny_artifact()
    card = replace(tiny.card, preprocessing=spec, classes=len(labels), output=TensorSpec("probabilities", "float32"))
    text = "".join(f"{label}\n" for label in labels).encode()
    return replace(tiny, flatbuffer=content, labels=text, card=card).signed().write(path)


def int8(weights: Array) -> tuple[Array, float]:
    scale = float(np.abs(weights).max() / 127)
    return np.rint(weights / scale).astype(np.int8), scale


@pytest.fixture(scope="module")
def network(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linear")
    return write(folder / "float.tflite", flatbuffer(fitted, fitted.weights, None), fitted.labels)


@pytest.fixture(scope="module")
def reference(network: Path) -> Path:
    """The float network's answers, stored."""
    path = network.with_name("ref.npz")
    done = gate("--save-reference", path, "--reference", network, "--images", calibration_data.VALIDATION)
    assert done.exit_code == 0, done.output
    return path


@pytest.fixture(scope="module")
def quantized(fitted: Fitted, network: Path) -> Path:
    """As it should be."""
    return write(network.with_name("int8.tflite"), flatbuffer(fitted, *int8(fitted.weights)), fitted.labels)


def judged(candidate: Path, reference: Path, *options: object) -> tuple[int, dict[str, Any]]:
    arguments = (candidate, "--reference", reference, "--images", calibration_data.VALIDATION, *LIMITS, *options)
    done = gate(*arguments, "--json")
    return done.exit_code, report_of(done)


def test_a_good_network_passes_early(quantized: Path, reference: Path) -> None:
    code, report = judged(quantized, reference)
    assert (code, report["gate"]["verdict"]) == (0, PASS)
    assert report["drift"]["top1_reference"] > 0.6, "the network tells the pictures apart"
    assert report["drift"]["images"] < report["sampling"]["available"] == 1000


def test_wrong_mean_and_std_are_caught(fitted: Fitted, network: Path, tmp_path: Path) -> None:
    content = flatbuffer(fitted, *int8(fitted.weights))
    candidate = write(tmp_path / "scaling.tflite", content, fitted.labels, WRONG_SCALING)
    code, report = judged(candidate, network)
    assert (code, report["gate"]["verdict"]) == (3, FAIL)


def test_other_channels_are_caught_where_colours_matter(fitted: Fitted, network: Path, tmp_path: Path) -> None:
    """The bundled pictures are grey, so they are tinted first."""
    from PIL import Image

    folder = tmp_path / "tinted"
    for path in sorted(calibration_data.VALIDATION.glob("*/*.png"))[::4]:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        grey = np.asarray(Image.open(path).convert("RGB"), np.float32)
        Image.fromarray((grey * (1.0, 0.8, 0.6)).astype(np.uint8)).save(folder / path.parent.name / path.name)
    content = flatbuffer(fitted, *int8(fitted.weights))
    good = write(tmp_path / "rgb.tflite", content, fitted.labels)
    bad = write(tmp_path / "bgr.tflite", content, fitted.labels, replace(SPEC, channel_order="BGR"))
    codes = [gate(x, "--reference", network, "--images", folder, "--max-drop", 5).exit_code for x in (good, bad)]
    assert codes[0] != 3
    assert codes[1] == 3


def test_three_in_a_hundred_weights_perturbed_are_caught(fitted: Fitted, reference: Path, tmp_path: Path) -> None:
    weights, scale = int8(fitted.weights)
    random = np.random.default_rng(3)
    chosen = random.random(weights.shape) < 0.03
    perturbed = np.where(chosen, random.integers(-127, 128, weights.shape), weights).astype(np.int8)
    candidate = write(tmp_path / "perturbed.tflite", flatbuffer(fitted, perturbed, scale), fitted.labels)
    code, report = judged(candidate, reference)
    assert (code, report["gate"]["verdict"]) == (3, FAIL)


def test_two_labels_swapped_are_caught(fitted: Fitted, reference: Path, tmp_path: Path) -> None:
    one, two, *others = fitted.labels
    candidate = write(tmp_path / "swapped.tflite", flatbuffer(fitted, *int8(fitted.weights)), (two, one, *others))
    code, report = judged(candidate, reference)
    assert (code, report["gate"]["verdict"]) == (3, FAIL)
    assert {(pair["reference"], pair["candidate"]) for pair in report["drift"]["confusion"][:2]} == {
        (one, two), (two, one),
    }  # fmt: skip


@pytest.fixture(scope="module")
def changes(quantized: Path, network: Path, validation: ImageSet) -> Array:
    """int (images, 3): agreed, lost and gained of the good network, to be resampled."""
    found: list[Predictions] = []
    for path in (network, quantized):
        with open_model(path) as model:
            found.append(predict_all(model, validation, Silent(), ""))
    truth = np.array(true_answers(validation, found[0]))
    p, q = (answers.probabilities.argmax(axis=1) for answers in found)
    return np.stack([p == q, (p == truth) & (q != truth), (p != truth) & (q == truth)], axis=1).astype(int)


def resampled(changes: Array) -> list[Array]:
    random = np.random.default_rng(4)
    return [np.cumsum(changes[random.integers(0, len(changes), len(changes))], axis=0) for _ in range(RUNS)]


def test_no_false_alarm_when_one_looks_at_every_image(changes: Array) -> None:
    """At the stated level, 5 %, of 200 runs over resampled pictures."""
    limits, verdicts = Limits(3.0, 0.95), []
    for totals in resampled(changes):
        for n, (agreed, lost, gained) in enumerate(totals.tolist(), 1):
            counts = PairedCounts(n, agreed, DiscordantPairs(lost, gained))
            if is_certain(counts, limits):
                break
        verdicts.append(judge_counts(counts, limits, INTERVALS[ANYTIME]).verdict)
    assert verdicts.count(FAIL) <= 0.05 * RUNS
    assert verdicts.count(PASS) > 0.8 * RUNS, "nor is silence all it has to say"


def test_no_false_alarm_at_the_end(changes: Array) -> None:
    limits = Limits(3.0, 0.95)
    totals = [each[-1].tolist() for each in resampled(changes)]
    ends = [PairedCounts(len(changes), agreed, DiscordantPairs(lost, gained)) for agreed, lost, gained in totals]
    verdicts = [judge_counts(counts, limits, INTERVALS["fixed"]).verdict for counts in ends]
    assert verdicts.count(FAIL) <= 0.05 * RUNS
    assert verdicts.count(PASS) > 0.95 * RUNS
