"""The integer-only recipe of TensorFlow's guide to post-training quantization: what a TFLiteConverter user writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def main(folder: Path) -> None:
    """network.keras, calibration.npy -> candidate.tflite."""
    images = np.load(folder / "calibration.npy", mmap_mode="r")

    def representative_dataset() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[np.newaxis]]

    model = keras.models.load_model(folder / "network.keras", compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    (folder / "candidate.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
