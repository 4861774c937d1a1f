"""A Keras network takes the fast road where every layer has a translation, and says which one has not."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from convert.keras_models.sources import ModelSource
from convert.lowering.keras_comparison import tflite_logits
from convert.lowering.networks import open_network

ROADS = [
    ("gelu", (), ["translating to TFLite"]),
    (
        "selu",
        ("layer middle: activation selu",),
        ["translating to TFLite", "layer middle: activation selu: through TFLiteConverter"],
    ),
]


@pytest.mark.parametrize(("activation", "slow_layers", "stages"), ROADS)
def test_roads(activation: str, slow_layers: tuple[str, ...], stages: list[str], tmp_path: Path) -> None:
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(5, 3, activation=activation, name="middle")(image)
    x = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    keras.Model(image, x).save(tmp_path / "model.keras")
    network, reported = open_network(ModelSource(str(tmp_path / "model.keras"))), list[str]()
    model = network.to_tflite(tmp_path, reported.append)
    assert reported == stages
    assert network.slow_layers == slow_layers
    images = np.random.default_rng(0).uniform(-1, 1, (2, 9, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(tflite_logits(model, images), network.logits(images), atol=1e-5)
