"""The convolutional networks of keras.applications, small: which convert, on which road, and how exactly.

    python benchmarks/zoo.py                          # all, one after the other, each in a process of its own
    python benchmarks/zoo.py --only MobileNetV2 --only VGG16

Weights are random, statistics of batch-normalizations those of the bundled photographs, so that activations are as
large as in a trained network: the table says how exactly arithmetic is kept, and nothing of accuracy. Results lie in
--folder; the table is of all that are there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np

import calibration_data
from convert.errors import QuantizationError
from convert.images.conventions import input_spec
from convert.images.dataset import find_images
from convert.images.reader import PixelReader
from convert.quantization.calibrate import CalibrationOptions, calibrate
from convert.quantization.evaluation import Evaluator
from convert.quantization.schemes import SCHEMES, Recipe
from convert.statistics.metrics import sqnr_db
from convert.system.progress import Silent
from edge_runtime import EdgeError
from edge_runtime.arrays import Array
from edge_runtime.preprocess import normalize
from edge_runtime.tensors import centred

CLASSES = 100
IMAGES = 24
NUDGE = 1e-7
TIMEOUT_S = 3600
PIXELS = 96
"""Height and width. At the 32 that many networks would take, the last batch-normalizations see one pixel of each image,
and what little images differ there they blow up, rounding with it."""
PIXELS_IN = ("EfficientNet", "MobileNetV3", "ConvNeXt")
"""Beginnings of the names of networks that scale pixels themselves; others get -1 to 1."""
NAMES = (
    "VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2",
    "InceptionV3", "InceptionResNetV2", "Xception", "MobileNet", "MobileNetV2", "MobileNetV3Small",
    "MobileNetV3Large", "DenseNet121", "DenseNet169", "DenseNet201", "NASNetMobile", "NASNetLarge",
    *(f"EfficientNetB{i}" for i in range(8)), *(f"EfficientNetV2B{i}" for i in range(4)), "EfficientNetV2S",
    "EfficientNetV2M", "EfficientNetV2L", "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge",
    "ConvNeXtXLarge",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What became of one network.

    Attributes:
        name: of the network.
        road: "fast", or what TFLiteConverter was needed for.
        keras_sqnr_db: of Keras' own logits when every pixel is off by a part in ten million.
        float_sqnr_db: of the float .tflite against Keras; `int8_sqnr_db` of int8 against the float one.
        float_mb, int8_mb: sizes of the models.
        io: dtype of the input of the int8 model.
        seconds: to convert to float, and to calibrate and quantize.
        error: what went wrong, or "".
    """

    name: str
    road: str = ""
    keras_sqnr_db: float | None = None
    float_sqnr_db: float | None = None
    int8_sqnr_db: float | None = None
    float_mb: float | None = None
    int8_mb: float | None = None
    io: str = ""
    in_float: str = ""
    seconds: tuple[float, float] = (0.0, 0.0)
    error: str = ""


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="These networks; all unless given.")
@click.option("--folder", type=Path, default=Path("build/zoo"), show_default=True)
@click.option("--output", type=Path, default=Path(__file__).with_name("ZOO.md"), show_default=True)
@click.option("--here", is_flag=True, hidden=True, help="Try the network of --only in this process.")
def main(only: tuple[str, ...], folder: Path, output: Path, here: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or NAMES:
        if here:
            _write(folder, tried(name))
            continue
        command = [sys.executable, __file__, "--here", "--only", name, "--folder", str(folder)]
        try:
            ended = subprocess.run(command, check=False, timeout=TIMEOUT_S, capture_output=True, text=True)
            if ended.returncode:
                last = (ended.stderr.strip().splitlines() or [""])[-1]
                _write(folder, Row(name, error=f"exit code {ended.returncode}: {last[:200]}"))
        except subprocess.TimeoutExpired:
            _write(folder, Row(name, error=f"not done after {TIMEOUT_S} s"))
        click.echo((folder / f"{name}.json").read_text(), err=True)
    if not here:
        output.write_text("\n".join(table(folder)) + "\n")


def tried(name: str) -> Row:
    """Convert one network in this process."""
    size = PIXELS
    spec = input_spec("none" if name.startswith(PIXELS_IN) else "tf", size, size)
    folders = (calibration_data.CALIBRATION, calibration_data.VALIDATION)
    calibration, validation = (find_images(folder).shuffled()[:IMAGES] for folder in folders)
    seen, pixels = ([pixels for _, pixels in PixelReader(spec).read(images)] for images in (calibration, validation))
    model = as_trained(name, size, normalize(np.stack(seen), spec))
    start = time.perf_counter()
    float_model, road = lowered(model)
    middle = time.perf_counter()
    row = {"name": name, "road": road, "float_mb": len(float_model) / 1e6}
    try:
        few = normalize(np.stack(pixels[:4]), spec)
        row["keras_sqnr_db"], row["float_sqnr_db"] = float_sqnrs_db(model, float_model, few)
        calibrated = calibrate(float_model, spec, calibration, None, CalibrationOptions(), Silent())
        io, quantized = _quantized(lambda io: calibrated.quantize(Recipe(SCHEMES["int8"], io), spec))
        score = Evaluator.from_float_model(float_model, pixels, spec).score(quantized)
        row |= {"int8_sqnr_db": score.sqnr_db, "int8_mb": len(quantized.model) / 1e6, "io": io}
        row["in_float"] = ", ".join(in_float(quantized.model))
    except EdgeError as error:
        row["error"] = str(error)
    return Row(**row, seconds=(middle - start, time.perf_counter() - middle))


def as_trained(name: str, size: int, images: Array) -> Any:
    """Return a network of random weights whose activations are of order 1 on these images.

    Batch-normalizations get the statistics that they see. Kernels are He's where nothing normalizes.
    """
    import keras

    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=CLASSES)
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.scale:
                low, high = (0.1, 0.4) if _ends_branch(layer) else (0.5, 1.5)
                layer.gamma.assign(random.uniform(low, high, layer.gamma.shape))
            if layer.center:
                layer.beta.assign(random.normal(0, 0.3, layer.beta.shape))
        elif type(layer).__name__ == "LayerScale":
            layer.gamma.assign(random.uniform(0.1, 0.5, layer.gamma.shape))
        elif isinstance(layer, keras.layers.Conv2D) and _ends_branch(layer):
            layer.kernel.assign(0.3 * layer.kernel)
        elif name.startswith("VGG") and layer.weights:
            layer.kernel.assign(random.normal(0, np.sqrt(2 / np.prod(layer.kernel.shape[:-1])), layer.kernel.shape))
    _keep_statistics(model, images)
    head = model.layers[-1] if model.layers[-1].weights else model.layers[-2]
    if head.weights:
        kernel = head.kernel
        kernel.assign(random.normal(0, 3 / np.sqrt(kernel.shape[-2]), kernel.shape))
    return model


def _keep_statistics(model: Any, images: Array) -> None:
    """Set the statistics of every batch-normalization to those of what it reads, in one pass over the images.

    Half of the mean is left in, and channels that hardly vary stay small. Otherwise every layer blows up the little in
    which images differ, as none does that was trained, and rounding with it: after a hundred layers of random weights
    float32 keeps 90 dB and int8 nothing.
    """
    import keras

    inference = keras.layers.BatchNormalization.call

    def call(layer: Any, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        values = np.asarray(x).reshape(-1, x.shape[-1]).astype(np.float64)
        mean = values.mean(axis=0) / 2
        layer.moving_mean.assign(mean)
        variance = np.mean((values - mean) ** 2, axis=0)
        layer.moving_variance.assign(np.maximum(variance, variance.mean() / 4))
        return inference(layer, x, training=False)

    with mock.patch.object(keras.layers.BatchNormalization, "call", call):
        model(images, training=False)


def _ends_branch(layer: Any) -> bool:
    """Return whether a layer is the last of a residual branch, whose share in the sum is small in a trained network."""
    return any(type(node.operation).__name__ == "Add" for node in layer._outbound_nodes)


def lowered(model: Any) -> tuple[bytes, str]:
    """Return the float `.tflite`, and the road that it took."""
    from convert.lowering.batch_norm_folding import fold_batch_norms
    from convert.lowering.networks import _convert
    from convert.lowering.translate import UntranslatableError, translate
    from convert.tflite.crop_kernels import crop_kernels

    try:
        return crop_kernels(translate(model)), "fast"
    except UntranslatableError as reason:
        with tempfile.TemporaryDirectory() as scratch:
            return crop_kernels(_convert(fold_batch_norms(model), Path(scratch))), f"slow: {reason}"


def float_sqnrs_db(model: Any, float_model: bytes, images: Array) -> tuple[float, float]:
    """Return the SQNR of Keras' own logits for slightly other pixels, and of the float `.tflite`, against Keras."""
    from convert.lowering.keras_comparison import keras_logits, tflite_logits

    noise = np.random.default_rng(0).standard_normal(images.shape)
    nudged = (images * (1 + NUDGE * noise)).astype(np.float32)
    found = keras_logits(model, nudged), tflite_logits(float_model, images)
    exact = centred(keras_logits(model, images))
    return sqnr_db(exact, centred(found[0])), sqnr_db(exact, centred(found[1]))


def in_float(model: bytes) -> Iterator[str]:
    """Yield the kinds of operators that an int8 network has in float before its head."""
    from convert.quantization.quantize import head_begins
    from convert.tflite.graph import TfliteGraph

    graph = TfliteGraph(model)
    body = graph.operators[: head_begins(graph)]
    kinds = {operator.name for operator in body if graph.dtype(operator.outputs[0]) == "float32"}
    yield from sorted(kinds - {"DEQUANTIZE"})


def _quantized(quantize: Callable[[str], Any]) -> tuple[str, Any]:
    """Return the quantized network with an input of pixels, or else of floats."""
    try:
        return "uint8", quantize("uint8")
    except QuantizationError:
        return "float32", quantize("float32")


def table(folder: Path) -> Iterator[str]:
    """Yield the lines of the Markdown table."""
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES if _is_done(folder, name)}
    yield from (
        "# The networks of keras.applications",
        "",
        "Random weights with the statistics of trained ones, at 96 pixels: how exactly arithmetic is kept, and "
        "nothing of accuracy. Made by `python benchmarks/zoo.py`.",
        "",
        "Keras: SQNR of its own logits when every pixel is off by a part in ten million; no translation can be closer. "
        "Float: SQNR of the logits of the float `.tflite` against Keras; `irv2-convert` refuses below 80 dB. Int8: "
        "SQNR of the centred log-probabilities against float. Fast: translated layer by layer; otherwise what "
        "TFLiteConverter was needed for.",
        "",
        "| network | road | Keras dB | float dB | int8 dB | float MB | int8 MB | input | in float |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for row in (Row(**values) for values in found.values()):
        figures = (row.keras_sqnr_db, row.float_sqnr_db, row.int8_sqnr_db, row.float_mb, row.int8_mb)
        cells = [row.name, row.error or row.road, *("" if x is None else f"{x:.1f}" for x in figures)]
        yield "| " + " | ".join([*cells, row.io, row.in_float]) + " |"
    missing = [name for name in NAMES if name not in found]
    if missing:
        yield from ("", f"Not tried: {', '.join(missing)}.")


def _is_done(folder: Path, name: str) -> bool:
    return (folder / f"{name}.json").exists()


def _write(folder: Path, row: Row) -> None:
    (folder / f"{row.name}.json").write_text(json.dumps(asdict(row)))


if __name__ == "__main__":
    main()
