"""What each step between the float network and int8 brings, one after the other, on networks that pretrained.py left.

    python benchmarks/ablation.py build/pretrained/efficientnet-lite0 build/pretrained/nsfw-mobilenet-v2

Markdown on standard output: SQNR of the logits of all validation images together, and agreement with the float
network. All rows have the same calibration images, and ends and head as `irv2-convert` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from convert.images.dataset import find_images
from convert.images.reader import PixelReader
from convert.quantization.bias_correction import correct_head
from convert.quantization.calibrators import CALIBRATORS, min_max
from convert.quantization.dense_layers import dense_as_convolutions
from convert.quantization.equalization import equalize
from convert.quantization.gptq import round_weights
from convert.quantization.io_tensors import choose_io
from convert.quantization.negations import without_negations
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.reconstruction import reconstruct
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import ActivationStatistics, collect_statistics, observe
from convert.statistics.metrics import sqnr_db
from convert.system.progress import Silent
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import encode, logits


@click.command(help=__doc__)
@click.argument("networks", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--images", default=800, show_default=True, help="Validation photographs at most.")
def main(networks: tuple[Path, ...], images: int) -> None:
    tables = [dict(measured(network, images)) for network in networks]
    print(f"| | {' | '.join(network.name for network in networks)} |\n{'|---' * (len(networks) + 1)}|")
    for step in tables[0]:
        print(f"| {step} | {' | '.join(table[step] for table in tables)} |")


def measured(network: Path, most: int) -> Iterator[tuple[str, str]]:
    """Yield each step, with what it brings a network together with those before it."""
    artifact = open_artifact(network / "float.tflite")
    model, spec = (network / "float.tflite").read_bytes()[: artifact.flatbuffer_bytes], artifact.card.preprocessing
    pixels = read(network / "calibration", spec)
    judged = read(network / "validation", spec)[:most]
    expected = np.stack(list(run_over(open_engine(model), (normalize(each, spec) for each in judged))))
    for step, quantized in steps(model, spec, pixels):
        click.echo(f"{network.name}: {step}", err=True)
        input_tensor, _ = quantized.io_specs
        fed = (encode(each, spec, input_tensor) for each in judged)
        found = np.stack(list(run_over(open_engine(quantized.model), fed)))
        agreement = float((expected.argmax(axis=-1) == found.argmax(axis=-1)).mean())
        yield step, f"{sqnr_db(logits(expected), logits(found)):.1f} dB, {agreement:.2%}"


def read(folder: Path, spec: InputSpec) -> list[Pixels]:
    """Return the pixels of the images of a folder, in the order that a conversion takes them."""
    return [pixels for _, pixels in PixelReader(spec).read(find_images(folder).shuffled())]


def steps(model: bytes, spec: InputSpec, pixels: list[Pixels]) -> Iterator[tuple[str, QuantizedModel]]:
    """Yield the quantized network after each step."""
    io, _ = choose_io(model, SCHEMES["int8"].io, False, spec)

    def made(network: bytes, statistics: ActivationStatistics) -> QuantizedModel:
        return quantize(network, Recipe(SCHEMES["int8"], io), spec, statistics)

    def least_squares(network: bytes, statistics: ActivationStatistics) -> ActivationStatistics:
        observers = observe(network, pixels, spec)
        chosen = {n: (CALIBRATORS["mse"] if each.has_pixels else min_max)(each) for n, each in observers.items()}
        return statistics.clipped(chosen)

    model = dense_as_convolutions(without_negations(model))
    plain = collect_statistics(model, iter(pixels), spec)[0]
    yield "scales a channel, weights to the nearest step, ranges of all values", made(model, plain)
    equalized, statistics, _ = equalize(model, plain)
    yield "channels equalized", made(equalized, statistics)
    statistics = least_squares(equalized, statistics)
    yield "ranges of least squared error", made(equalized, statistics)
    yield "weights rounded by GPTQ", made(round_weights(equalized, pixels, spec, Silent()), statistics)
    fitted = made(reconstruct(equalized, statistics, pixels, spec, Silent()), statistics)
    yield "layers fitted to what they read in int8, then GPTQ", fitted
    input_tensor, _ = fitted.io_specs
    corrected: bytes = correct_head(fitted.model, spec, input_tensor, pixels, statistics.logits)
    yield "the head's bias corrected: `irv2-convert`", replace(fitted, model=corrected)


if __name__ == "__main__":
    main()
