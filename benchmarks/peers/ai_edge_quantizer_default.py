"""ai-edge-quantizer as its documentation shows it: default calibration, the static int8 recipe."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_quantizer import quantizer, recipe


def main(folder: Path) -> None:
    """float.tflite, calibration.npy -> candidate.tflite."""
    worker = quantizer.Quantizer(str(folder / "float.tflite"))
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    images = np.load(folder / "calibration.npy")
    ranges = worker.calibrate({"serving_default": [{"image": image[np.newaxis]} for image in images]})
    (folder / "candidate.tflite").write_bytes(worker.quantize(ranges).quantized_model)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
