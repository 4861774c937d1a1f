"""OpenVINO and NNCF with their defaults, in an environment of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino


def main(folder: Path) -> None:
    """float.tflite, calibration.npy, validation.npy -> answers.npy, float32 (images, classes)."""
    quantized = quantize(openvino.Core().read_model(folder / "float.tflite"), folder)
    run = openvino.compile_model(quantized, "CPU")
    validation = np.load(folder / "validation.npy", mmap_mode="r")
    np.save(folder / "answers.npy", np.concatenate([run(image[np.newaxis])[0] for image in validation]))


def quantize(model: openvino.Model, folder: Path) -> openvino.Model:
    """calibration.npy -> the model in int8."""
    images = np.load(folder / "calibration.npy", mmap_mode="r")
    dataset = nncf.Dataset(list(images), lambda image: image[np.newaxis])
    return nncf.quantize(model, dataset, subset_size=len(images))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
