"""OpenVINO and NNCF with their defaults, in an environment of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino


def main(folder: Path, execution: dict[str, str] | None = None, **settings: Any) -> None:
    """float.tflite, calibration.npy, validation.npy -> candidate.xml, answers.npy, float32 (images, classes).

    `execution` is OpenVINO's configuration, `settings` are NNCF's.
    """
    quantized = quantize(openvino.Core().read_model(folder / "float.tflite"), folder, **settings)
    openvino.save_model(quantized, folder / "candidate.xml")
    run = openvino.compile_model(quantized, "CPU", execution or {})
    validation = np.load(folder / "validation.npy", mmap_mode="r")
    np.save(folder / "answers.npy", np.concatenate([run(image[np.newaxis])[0] for image in validation]))


def quantize(model: openvino.Model, folder: Path, **settings: Any) -> openvino.Model:
    """calibration.npy -> the model in int8."""
    images = np.load(folder / "calibration.npy", mmap_mode="r")
    dataset = nncf.Dataset(list(images), lambda image: image[np.newaxis])
    return nncf.quantize(model, dataset, subset_size=len(images), **settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
