"""Activations that the quantizer has no rule for: computed in integers, and as their definition in NumPy says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click.testing
import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers
from PIL import Image

from convert.audit import runtimes
from convert.cli.inspect import inspect as command
from convert.images.dataset import find_images
from convert.lowering.translate import translate
from convert.quantization import quantizer_adapter
from convert.quantization.calibrate import CalibrationOptions, calibrate
from convert.quantization.evaluation import Evaluator
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.stand_ins import STAND_INS
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels
from edge_runtime.tensors import dequantize, encode

Array = npt.NDArray[np.float64]
SIZE, CLASSES = 20, 5
SPEC = InputSpec(SIZE, SIZE, mean=(127.5,) * 3, std=(127.5,) * 3)
ALPHAS = np.array([0.1, -0.3, 0.5, 1.0, 0.02, 1.7, 0.25, 0.0], np.float32)


SMALL_ALPHAS = np.minimum(ALPHAS, 1)
"""For these, the larger of x and alpha * x is computed instead."""


def prelu(alphas: npt.NDArray[np.float32] = ALPHAS) -> layers.Layer:
    layer = layers.PReLU(shared_axes=[1, 2])
    layer.build((None, 1, 1, 8))
    layer.set_weights([alphas.reshape(1, 1, 8)])
    return layer


def erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


ACTIVATIONS: dict[str, tuple[Callable[[], layers.Layer], Callable[[Array], Array], Sequence[str]]] = {
    "leaky": (lambda: layers.LeakyReLU(negative_slope=0.1), lambda x: np.where(x > 0, x, 0.1 * x), ["LEAKY_RELU"]),
    "prelu": (prelu, lambda x: np.where(x > 0, x, ALPHAS * x), ["PRELU"]),
    "small prelu": (
        lambda: prelu(SMALL_ALPHAS),
        lambda x: np.where(x > 0, x, SMALL_ALPHAS * x),
        ["MAXIMUM"],
    ),
    "elu": (layers.ELU, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), ["ELU"]),
    "hard-swish": (
        lambda: layers.Activation("hard_silu"),
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        ["HARD_SWISH"],
    ),
    "gelu": (lambda: layers.Activation("gelu"), lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, ["GELU"]),
    "capped": (lambda: layers.ReLU(max_value=1.5), lambda x: np.clip(x, 0, 1.5), ["MINIMUM"]),
}
"""Name -> layer of Keras, its definition, and the operators that it becomes."""


def pictures(count: int, seed: int) -> list[Pixels]:
    small = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return [np.asarray(Image.fromarray(each).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for each in small]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, pixels in enumerate(pictures(12, 1)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def float_model(name: str) -> bytes:
    """Two convolutions, each followed by the activation, and a head."""
    keras.utils.set_random_seed(3)
    x = image = keras.Input((SIZE, SIZE, 3), batch_size=1, name="image")
    for i in range(2):
        spread = keras.initializers.RandomNormal(stddev=0.35)
        x = layers.Conv2D(8, 3, kernel_initializer=spread, name=f"conv{i}")(x)
        x = ACTIVATIONS[name][0]()(x)
    head = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return translate(keras.Model(image, head))


def converted(name: str, folder: Path, scheme: str = "int8") -> tuple[QuantizedModel, float]:
    """The quantized network, and its SQNR in dB on pictures that it was not calibrated on."""
    model = float_model(name)
    calibration = calibrate(model, SPEC, find_images(folder), None, CalibrationOptions(), Silent())
    quantized = calibration.quantize(Recipe(SCHEMES[scheme], "float32"), SPEC)
    return quantized, Evaluator.from_float_model(model, pictures(8, 2), SPEC).score(quantized).sqnr_db


def borders(quantized: QuantizedModel, kinds: Sequence[str], pixels: Pixels) -> list[tuple[Array, Array, float]]:
    """What each operator of some kinds read and wrote, and one step of what it wrote."""
    graph, engine = TfliteGraph(quantized.model), RecordingEngine(quantized.model, with_xnnpack=False)
    engine.run(encode(pixels, SPEC, quantized.io_specs[0])[np.newaxis])
    found = []
    for operator in (operator for kind in kinds for operator in graph.named(kind)):
        product = graph.producer(operator.inputs[1]) if operator.name == "MAXIMUM" else None
        ends = (product or operator).inputs[0], operator.outputs[0]
        affines = [graph.quantization(i) for i in ends]
        read, wrote = (dequantize(engine.tensor(i), *affine) for i, affine in zip(ends, affines, strict=True) if affine)
        assert affines[1] is not None
        found.append((read.astype(np.float64), wrote.astype(np.float64), affines[1][0]))
    return found


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_int8_and_compute_what_they_are_defined_as(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, definition, kinds = ACTIVATIONS[name]
    quantized, sqnr_db = converted(name, folder)
    assert sqnr_db > 20
    found = borders(quantized, kinds, pictures(1, 5)[0])
    assert len(found) == 2
    for read, wrote, step in found:
        wanted = definition(read)
        within = (wanted >= wrote.min() - step) & (wanted <= wrote.max() + step)  # of what integers can hold
        assert np.abs(wanted - wrote)[within].max() <= 1.5 * step
        assert within.mean() > 0.98
    path = tmp_path / "model.tflite"
    path.write_bytes(quantized.model)
    result = click.testing.CliRunner().invoke(command, [str(path), "--require", "int8"])
    assert result.exit_code == 0, result.output
    if kinds[0] in STAND_INS and STAND_INS[kinds[0]].name != kinds[0]:
        monkeypatch.setattr(quantizer_adapter, "stand_in", lambda *_: {})
        path.write_bytes(converted(name, folder)[0].model)
        assert click.testing.CliRunner().invoke(command, [str(path), "--require", "int8"]).exit_code == 3


@pytest.mark.parametrize("name", ["leaky", "capped"])
def test_16_bits_are_used_where_there_is_a_kernel(name: str, folder: Path) -> None:
    _, definition, kinds = ACTIVATIONS[name]
    quantized, sqnr_db = converted(name, folder, "int16x8")
    assert sqnr_db > 20
    for read, wrote, step in borders(quantized, kinds, pictures(1, 5)[0]):
        within = definition(read) <= wrote.max() + step
        assert np.abs(definition(read) - wrote)[within].max() <= 3 * step


def test_operators_without_a_kernel_for_16_bits_stay_in_float(folder: Path) -> None:
    graph = TfliteGraph(converted("elu", folder, "int16x8")[0].model)
    assert {graph.dtype(operator.outputs[0]) for operator in graph.named("ELU")} == {"float32"}


def test_every_version_is_in_all_measured_runtimes_but_that_of_gelu() -> None:
    needed: Any = {(kind, version) for kind, row in STAND_INS.items() for version in row.versions.values()}
    lacking = {kind for kind, version in needed for has in runtimes.measured().values() if has.get(kind, 0) < version}
    assert lacking <= {"GELU"}


def test_no_stand_in_is_left_behind(folder: Path) -> None:
    graph = TfliteGraph(converted("elu", folder)[0].model)
    assert not graph.named("RELU")
    assert ("ELU", 1, "") in graph.operator_kinds()


def test_a_prelu_that_is_kept_in_float_is_kept_whole(folder: Path) -> None:
    """Its product must not stay behind in integers."""
    model = float_model("small prelu")
    graph = TfliteGraph(model)
    kept = tuple(graph.tensor_name(operator.outputs[0]) for operator in graph.named("PRELU"))
    calibration = calibrate(model, SPEC, find_images(folder), None, CalibrationOptions(), Silent())
    quantized = TfliteGraph(calibration.quantize(Recipe(SCHEMES["mixed"], "float32", kept), SPEC).model)
    parts = [*quantized.named("MUL"), *quantized.named("MAXIMUM")]
    assert len(parts) == 4
    assert {quantized.dtype(part.outputs[0]) for part in parts} == {"float32"}
