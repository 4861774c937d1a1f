"""How much of a network each int8 recipe keeps: one float model, the same images, one Markdown table.

    python benchmarks/accuracy.py                                   # the demo network
    python benchmarks/accuracy.py --model benchmarks/depthwise.keras --preprocessing tf

Peers run as their documentation shows them, each in a process of its own, in the environments of
`environments.py`. Top-1, agreement with its 95 % interval, and SQNR of the logits are those of `convert.drift.figures`
for all.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console

import calibration_data
from convert.cli.progress import TerminalProgress
from convert.drift.comparison import Comparison
from convert.drift.figures import measure
from convert.drift.predictions import true_answers
from convert.images.dataset import ImageSet, find_images
from convert.images.reader import PixelReader
from convert.keras_models.demo_weights import LABELS
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import FloatModel, LoweringRequest, lower
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.calibrators import CALIBRATORS
from convert.quantization.float_fallback import find_fallbacks
from convert.quantization.io_tensors import choose_io
from convert.quantization.schemes import SCHEMES, Recipe
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import encode
from environments import AI_EDGE, OPENVINO, OURS
from keras_file import save_keras
from trial import Answered, Trial

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

    @property
    def trial(self) -> Trial:
        """What all recipes get."""
        return Trial(self.folder, self.validation, self.network.labels)


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True)
@click.option("--preprocessing", default="tf", show_default=True)
@click.option("--images", default=1000, show_default=True, help="Validation images.")
@click.option("--folder", type=Path, default=Path("build/accuracy"), show_default=True)
def main(model: str, preprocessing: str, images: int, folder: Path) -> None:
    with TerminalProgress(Console(stderr=True)) as progress:
        task = prepare(ModelSource(model), preprocessing, images, folder, progress)
        reference = task.trial.ask_float()
        rows = {"float": reference}
        for name, compute in recipes(task, progress):
            progress.stage(name)
            start = time.perf_counter()
            rows[name] = compute()
            progress.note(f"{name}: {time.perf_counter() - start:.0f} s")
    print_table(task, rows)


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


def recipes(task: Task, progress: TerminalProgress) -> Iterator[tuple[str, Callable[[], Answered]]]:
    """Every row of the table, and how it is computed."""
    trial = task.trial
    yield "TFLiteConverter, documented int8 recipe", lambda: trial.ask_peer("tflite_converter.py", OURS)
    yield "ai-edge-quantizer, default", lambda: trial.ask_peer("ai_edge_quantizer_default.py", AI_EDGE)
    yield "OpenVINO + NNCF, default", lambda: trial.ask_peer("nncf_default.py", OPENVINO)
    network, everything = task.network, task.calibration
    given = network.model, network.spec
    io, _ = choose_io(network.model, SCHEMES["int8"].io, False, network.spec)  # as `irv2-convert` does by default
    whole = calibrate(*given, everything, None, CalibrationOptions(), progress)
    chosen, held_out = everything[:-HELD_OUT], everything[-HELD_OUT:]
    fitted = calibrate(*given, chosen, held_out, CalibrationOptions(), progress)
    for name in CALIBRATORS:
        options = CalibrationOptions(name)
        changed = whole if options == CalibrationOptions() else calibrate(*given, everything, None, options, progress)
        yield f"ours, int8, {name}", lambda changed=changed: ours(task, Recipe(SCHEMES["int8"], io), changed)
    for fallback in find_fallbacks(fitted, SCHEMES["mixed"], io, progress)[1:]:
        recipe = Recipe(SCHEMES["mixed"], io, fallback.outputs)
        name = f"ours, {fallback.layers} of {weighted(task)} layers in float"
        yield name, lambda recipe=recipe: ours(task, recipe, whole)


def weighted(task: Task) -> int:
    """How many layers with weights the network has."""
    return sum(operator.has_weights for operator in TfliteGraph(task.network.model).operators)


def ours(task: Task, recipe: Recipe, fitted: Calibration) -> Answered:
    """Quantize as `irv2-convert` does, and ask."""
    quantized = fitted.correct_head(fitted.quantize(recipe, task.network.spec), task.network.spec)
    input_tensor, _ = quantized.io_specs
    tensors = (encode(pixels, task.network.spec, input_tensor) for pixels in task.pixels)
    return task.trial.answered(np.stack(list(run_over(open_engine(quantized.model), tensors))))


def print_table(task: Task, rows: dict[str, Answered]) -> None:
    """Markdown; the first row is the reference."""
    reference = rows["float"]
    truth = true_answers(task.validation, reference.predictions)
    print(f"`{task.source.name}`, {len(task.calibration)} calibration and {len(task.validation)} validation images;")
    print(f"{platform.machine()}; {OURS.versions()}; {AI_EDGE.versions()}; {OPENVINO.versions()}\n")
    print("| | top-1 | agreement | 95 % interval | SQNR |\n|---|---|---|---|---|")
    for name, found in rows.items():
        row = measure(Comparison(reference.predictions, found.predictions, truth))
        low, high = row.agreement_ci95
        sqnr = "" if name == "float" else f"{found.sqnr_db(reference):.1f} dB"
        print(f"| {name} | {row.top1_candidate:.2%} | {row.agreement_top1:.2%} | [{low:.2%}, {high:.2%}] | {sqnr} |")


if __name__ == "__main__":
    main()
