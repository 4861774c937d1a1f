"""Tiny networks of the shapes that the pipeline must understand, as float `.tflite`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from litert_quantizer import quantizer

from convert.tflite.graph import TfliteGraph
from edge_runtime import InputSpec

SPEC = InputSpec(16, 20, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))


def new_image() -> Any:
    return keras.Input((16, 20, 3), batch_size=1, name="image")


def convolution(
    x: Any, filters: int, name: str, activation: Any = "relu", strides: int = 1, padding: str = "same"
) -> Any:
    return layers.Conv2D(filters, 3, strides, padding=padding, activation=activation, name=name)(x)


def lowered(image: Any, features: Any, classes: int = 5) -> bytes:
    """What TFLiteConverter makes of `headed`."""
    return bytes(tf.lite.TFLiteConverter.from_keras_model(headed(image, features, classes)).convert())


def headed(image: Any, features: Any, classes: int = 5) -> keras.Model:
    """A classifier on `features` (1, n); its kernels differ widely from channel to channel."""
    model = keras.Model(image, layers.Dense(classes, activation="softmax", name="dense")(features))
    random = np.random.default_rng(4)
    for weight in model.weights:
        spread = np.exp(random.normal(0, 1, weight.shape[-1]))
        weight.assign((random.normal(0, 0.3, weight.shape) * spread).astype(np.float32))
    return model


def residual_network(classes: int = 5) -> bytes:
    """What our architecture is made of: a fork with a pool, a stream of two residual sums, an end that pools."""
    image = new_image()
    x = convolution(image, 6, "first", padding="valid")
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), convolution(x, 4, "beside_pool", strides=2)])
    for block in range(2):
        branch = layers.Concatenate()([convolution(x, 3, f"left{block}"), convolution(x, 5, f"right{block}")])
        x = layers.ReLU()(layers.Add()([x, convolution(branch, 10, f"back{block}")]))
    return lowered(image, layers.GlobalAveragePooling2D()(convolution(x, 8, "last")), classes)


def plain_dynamic(float_model: bytes) -> bytes:
    """int8 weights everywhere, as litert-quantizer leaves them; our own scheme keeps the head in float."""
    worker = quantizer.Quantizer(bytearray(float_model))
    worker.add_dynamic_config(".*", "*", 8)
    model = bytes(worker.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)
    return TfliteGraph(model).to_bytes()
