"""A walk over a network meets every call once, after what it reads, whatever Keras' own order of layers."""

from __future__ import annotations

import keras
from keras import layers

from convert.keras_models.walk import calls, flat_layers


def names(output: object) -> list[str]:
    return [call.operation.name for call in calls(output)]


def test_a_branch_is_walked_to_its_end_before_the_next_one() -> None:
    image = keras.Input((8, 8, 3), name="image")
    short = layers.Conv2D(2, 1, name="short")(image)
    long = layers.Conv2D(2, 1, name="long_2")(layers.Conv2D(2, 1, name="long_1")(image))
    output = layers.Concatenate(name="join")([short, long])
    assert names(output) == ["image", "short", "long_1", "long_2", "join"]
    by_depth = [layer.name for layer in keras.Model(image, output).layers]
    assert by_depth.index("long_1") < by_depth.index("short"), "Keras mixes the branches"


def test_a_shared_layer_is_met_at_each_call() -> None:
    image = keras.Input((8, 8, 3), name="image")
    shared = layers.Conv2D(3, 1, name="shared")
    assert names(layers.Add(name="sum")([shared(shared(image)), image])) == ["image", "shared", "shared", "sum"]


def test_many_diamonds_take_no_longer_than_their_calls() -> None:
    x = keras.Input((8, 8, 3), name="image")
    for _ in range(200):
        x = layers.Add()([x, x])
    assert len(names(x)) == 201


def test_layers_of_nested_models_stand_in_place_of_the_models() -> None:
    inside = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 1, name="inner")], name="inside")
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.ReLU(name="last")(inside(image)))
    found = [layer.name for layer in flat_layers(model)]
    assert found[-2:] == ["inner", "last"]
    assert "inside" not in found
