"""ai-edge-quantizer as its documentation shows it: default calibration, the static int8 recipe."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

SIGNATURE = "serving_default"


def main(folder: Path) -> None:
    """float.tflite, calibration.npy -> candidate.tflite."""
    model = folder / "float.tflite"
    worker = quantizer.Quantizer(str(model))
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    images = np.load(folder / "calibration.npy", mmap_mode="r")
    ranges = worker.calibrate({SIGNATURE: [{input_name(model): image[np.newaxis]} for image in images]})
    (folder / "candidate.tflite").write_bytes(worker.quantize(ranges).quantized_model)


def input_name(model: Path) -> str:
    """What the signature calls the image."""
    inputs: list[str] = Interpreter(str(model)).get_signature_list()[SIGNATURE]["inputs"]
    return inputs[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
