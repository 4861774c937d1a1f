"""SavedModel folders, opened as networks of ours, and what these answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from convert.keras_models.sources import ModelSource
from convert.lowering.graphs.saved_model import SavedModelNetwork
from convert.lowering.networks import open_network
from convert.tflite.interpreter import RecordingEngine
from tests.convert.lowering.graphs.foreign import HEIGHT, WIDTH


def opened(folder: Path, input_size: int | None = None) -> SavedModelNetwork:
    network = open_network(ModelSource(str(folder), input_size=input_size))
    assert isinstance(network, SavedModelNetwork)
    return network


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    engine = RecordingEngine(model)
    return np.stack([engine.run(image[np.newaxis])[0] for image in x])


def saved(folder: Path, **signatures: Callable[..., Any]) -> Path:
    """Write functions of a picture as signatures of a SavedModel."""
    module, picture = tf.Module(), tf.TensorSpec((None, HEIGHT, WIDTH, 3), name="picture")
    functions = {name: tf.function(function, input_signature=[picture]) for name, function in signatures.items()}
    tf.saved_model.save(module, str(folder), signatures=functions)
    return folder


def small(head: Any) -> keras.Model:
    image = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False)(image))
    x = layers.DepthwiseConv2D(3, activation="silu")(x)
    keras.utils.set_random_seed(2)
    return keras.Model(image, head(layers.GlobalAveragePooling2D()(x)))
