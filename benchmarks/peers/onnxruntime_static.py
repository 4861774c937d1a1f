"""ONNX Runtime's static quantization from a Keras file on: tf2onnx, the documented preparation, then its defaults."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

OPSET = 17


class Images(CalibrationDataReader):
    """What ONNX Runtime asks for one image after the other."""

    def __init__(self, path: Path) -> None:
        self._images = iter(np.load(path, mmap_mode="r"))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[np.newaxis]}


def main(folder: Path) -> None:
    """network.keras, calibration.npy -> float.onnx and candidate.onnx."""
    network = keras.models.load_model(folder / "network.keras", compile=False)
    signature = (tf.TensorSpec((1, *network.input_shape[1:]), tf.float32, name="image"),)
    tf2onnx.convert.from_keras(network, signature, opset=OPSET, output_path=folder / "float.onnx")
    quant_pre_process(folder / "float.onnx", folder / "prepared.onnx")
    quantize_static(folder / "prepared.onnx", folder / "candidate.onnx", Images(folder / "calibration.npy"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
