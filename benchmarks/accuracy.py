"""How much of a network each int8 recipe keeps: one float model, the same images, one Markdown table.

    python benchmarks/accuracy.py                                   # the demo network
    python benchmarks/accuracy.py --model benchmarks/depthwise.keras --preprocessing tf

Peers run as their documentation shows them, each in a process of its own, in the environments of
`environments.py`. Top-1, agreement with its 95 % interval, and SQNR of the logits are those of `convert.drift.figures`
for all.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console

import calibration_data
from convert.cli.progress import TerminalProgress
from convert.drift.comparison import Comparison
from convert.drift.figures import Drift, measure
from convert.drift.predictions import Predictions, true_classes
from convert.errors import QuantizationError
from convert.images.dataset import ImageSet, find_images
from convert.images.reader import PixelReader
from convert.keras_models.demo_weights import LABELS
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import FloatModel, LoweringRequest, lower
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.calibrators import CALIBRATORS
from convert.quantization.float_fallback import find_fallbacks
from convert.quantization.io_tensors import check_io_dtype
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import observe
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import dequantize, encode, quantize
from environments import AI_EDGE, OPENVINO, OURS, Environment
from keras_file import save_keras

PEERS = Path(__file__).parent / "peers"
HELD_OUT = 20


@dataclass(frozen=True)
class Task:
    """A float network, what it is calibrated on, and what it is judged on."""

    source: ModelSource
    network: FloatModel
    calibration: ImageSet
    validation: ImageSet
    pixels: Sequence[Pixels]
    folder: Path


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True)
@click.option("--preprocessing", default="tf", show_default=True)
@click.option("--images", default=1000, show_default=True, help="Validation images.")
@click.option("--folder", type=Path, default=Path("build/accuracy"), show_default=True)
def main(model: str, preprocessing: str, images: int, folder: Path) -> None:
    with TerminalProgress(Console(stderr=True)) as progress:
        task = prepare(ModelSource(model), preprocessing, images, folder, progress)
        reference = answers(task, float_answers(task))
        rows = {"float": reference}
        for name, compute in recipes(task, progress):
            progress.stage(name)
            start = time.perf_counter()
            rows[name] = compute()
            progress.note(f"{name}: {time.perf_counter() - start:.0f} s")
    truth = true_classes(task.validation, reference)
    print_table(task, {name: measure(Comparison(reference, found, truth)) for name, found in rows.items()})


def prepare(source: ModelSource, preprocessing: str, images: int, folder: Path, progress: TerminalProgress) -> Task:
    """Lower the network once, and write what the peers read."""
    folder.mkdir(parents=True, exist_ok=True)
    calibration = find_images(calibration_data.CALIBRATION).shuffled()[:100]
    validation = find_images(calibration_data.VALIDATION).shuffled()[:images]
    lowered = lower(LoweringRequest(source, preprocessing, validation.paths[:8], folder), progress)
    (folder / "float.tflite").write_bytes(lowered.model)
    network, spec = FloatModel(lowered, lowered.labels or LABELS), lowered.spec
    pixels = [pixels for _, pixels in PixelReader(spec).read(validation)]
    for name, seen in (("calibration", [p for _, p in PixelReader(spec).read(calibration)]), ("validation", pixels)):
        np.save(folder / f"{name}.npy", np.stack([normalize(p, spec) for p in seen]))
    save_keras(source, folder / "network.keras")
    return Task(source, network, calibration, validation, pixels, folder)


def recipes(task: Task, progress: TerminalProgress) -> Iterator[tuple[str, Callable[[], Predictions]]]:
    """Every row of the table, and how it is computed."""
    yield "TFLiteConverter, documented int8 recipe", lambda: peer(task, "tflite_converter.py", OURS)
    yield "ai-edge-quantizer, default", lambda: peer(task, "ai_edge_quantizer_default.py", AI_EDGE)
    yield "OpenVINO + NNCF, default", lambda: peer(task, "nncf_default.py", OPENVINO)
    io = ends(task)
    network, everything = task.network, task.calibration
    whole = calibrate(network.model, network.spec, everything, None, CalibrationOptions(), progress)
    chosen, held_out = everything[:-HELD_OUT], everything[-HELD_OUT:]
    fitted = calibrate(network.model, network.spec, chosen, held_out, CalibrationOptions(), progress)
    observed = observe(whole.equalized, whole.pixels, task.network.spec)
    for name, calibrator in CALIBRATORS.items():
        ranges = {tensor: calibrator(seen) for tensor, seen in observed.items()}
        changed = replace(whole, statistics=whole.statistics.clipped(ranges))
        yield f"ours, int8, {name}", lambda changed=changed: ours(task, Recipe(SCHEMES["int8"], io), changed)
    for fallback in find_fallbacks(fitted, SCHEMES["mixed"], io, progress)[1:]:
        recipe = Recipe(SCHEMES["mixed"], io, fallback.outputs)
        name = f"ours, {fallback.layers} of {weighted(task)} layers in float"
        yield name, lambda recipe=recipe: ours(task, recipe, whole)


def ends(task: Task) -> str:
    """uint8, as `irv2-convert` does by default, where the network lets it."""
    try:
        check_io_dtype(task.network.model, "uint8", task.network.spec)
    except QuantizationError:
        return "float32"
    return "uint8"


def weighted(task: Task) -> int:
    """How many layers with weights the network has."""
    return sum(operator.has_weights for operator in TfliteGraph(task.network.model).operators)


def ours(task: Task, recipe: Recipe, fitted: Calibration) -> Predictions:
    """Quantize as `irv2-convert` does, and ask."""
    quantized = fitted.correct_head(fitted.quantize(recipe, task.network.spec), task.network.spec)
    input_tensor, _ = quantized.io_specs
    tensors = (encode(pixels, task.network.spec, input_tensor) for pixels in task.pixels)
    return answers(task, np.stack(list(run_over(open_engine(quantized.model), tensors))))


def float_answers(task: Task) -> np.ndarray:
    """Of the lowered network."""
    return np.stack(list(run_over(open_engine(task.network.model), np.load(task.folder / "validation.npy"))))


def peer(task: Task, script: str, environment: Environment) -> Predictions:
    """Let a peer quantize; it leaves a .tflite for us to ask, or its own answers."""
    candidate, found = task.folder / "candidate.tflite", task.folder / "answers.npy"
    for old in (candidate, found):
        old.unlink(missing_ok=True)
    done = subprocess.run(
        [environment.python(), PEERS / script, task.folder], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise click.ClickException(f"{script} failed: {done.stderr[-2000:]}")
    if found.exists():
        return answers(task, np.load(found))
    return ask(task, candidate.read_bytes())


def ask(task: Task, model: bytes) -> Predictions:
    """Answers of a peer's `.tflite`, whatever the dtype of its ends."""
    engine, (input_tensor, end) = open_engine(model), QuantizedModel(model, "normalized").io_specs
    found = []
    for image in np.load(task.folder / "validation.npy", mmap_mode="r"):
        fed = (
            image
            if input_tensor.scale is None
            else quantize(image, input_tensor.scale, input_tensor.zero_point, input_tensor.dtype)
        )
        output = engine.run(np.asarray(fed)[np.newaxis])[0]
        found.append(output if end.scale is None else dequantize(output, end.scale, end.zero_point))
    return answers(task, np.stack(found), softmax_step(model))


def softmax_step(model: bytes) -> float:
    """The step of a softmax that is computed in integers, whatever the output is; 0 in float."""
    graph = TfliteGraph(model)
    scales = graph.scales(graph.named("SOFTMAX")[-1].outputs[0])
    return 0.0 if scales is None else float(scales[0])


def answers(task: Task, probabilities: np.ndarray, step: float = 0.0) -> Predictions:
    """Answers to the validation images."""
    return Predictions(task.validation.paths, probabilities.astype(np.float32), task.network.labels, step=step)


def print_table(task: Task, rows: dict[str, Drift]) -> None:
    """Markdown."""
    print(f"`{task.source.name}`, {len(task.calibration)} calibration and {len(task.validation)} validation images;")
    print(f"{platform.machine()}; {OURS.versions()}; {AI_EDGE.versions()}; {OPENVINO.versions()}\n")
    print("| | top-1 | agreement | 95 % interval | SQNR |\n|---|---|---|---|---|")
    for name, row in rows.items():
        low, high = row.agreement_ci95
        sqnr = "" if name == "float" else f"{row.sqnr_db:.1f} dB"
        print(f"| {name} | {row.top1_candidate:.2%} | {row.agreement_top1:.2%} | [{low:.2%}, {high:.2%}] | {sqnr} |")


if __name__ == "__main__":
    main()
