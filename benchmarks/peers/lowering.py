"""What a user of TFLiteConverter writes to have the float network."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf


def lower(folder: Path) -> Path:
    """network.keras -> float.tflite."""
    model = keras.models.load_model(folder / "network.keras", compile=False)
    path = folder / "float.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path
