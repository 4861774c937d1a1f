"""Read the layers of a TensorFlow checkpoint: TF-Slim's variables, or those of a Keras 2 model.

    TF-Slim                          InceptionResnetV2/Mixed_5b/Branch_0/Conv2d_1x1/weights
    Keras 2, save_weights("NAME")    layer_with_weights-7/kernel/.ATTRIBUTES/VARIABLE_VALUE

A checkpoint is a table of tensors: reading one runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import SourceError
from convert.keras_models.hdf5 import one_line
from convert.keras_models.weights.published_names import slim_places
from convert.keras_models.weights.stored_weights import (
    BY_CREATION,
    BY_DEPTH,
    NORMALIZATION_ARRAYS,
    StoredArray,
    StoredLayer,
    StoredNetwork,
)
from edge_runtime.arrays import Array

SCOPE = "InceptionResnetV2/"
SLIM_ARRAYS = {"weights": "kernel", "biases": "bias"}
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
SLOTS = "/.OPTIMIZER_SLOT/"
NO_LAYERS = ("optimizer", "keras_api", "signatures")
"""What Keras saves beside the layers of a model."""


def read_checkpoint(path: Path) -> StoredNetwork:
    """Read a checkpoint: the one file of the first format, or the `.index` file of the second.

    Raises:
        SourceError: it is damaged, a file of it is missing, or it has the variables of neither.
    """
    import tensorflow as tf

    prefix = str(path).removesuffix(".index")
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except Exception as error:  # whatever the damage leads to
        raise _damaged(path, error) from error

    def array(name: str) -> StoredArray:
        return StoredArray(
            tuple(shapes[name]), np.dtype(dtypes[name].as_numpy_dtype).name, _reading(reader, name, path)
        )

    names = sorted(shapes)
    scope = next((name[: name.index(SCOPE) + len(SCOPE)] for name in names if f"/{SCOPE}" in f"/{name}"), None)
    if scope is not None:
        layers = _slim_layers({name.removeprefix(scope): array(name) for name in names if name.startswith(scope)}, path)
        return StoredNetwork(path, "TF-Slim", tuple(layers), BY_CREATION)
    layers = _keras_layers({name.removesuffix(VALUE): array(name) for name in names if name.endswith(VALUE)})
    if not layers:
        raise SourceError(
            f"{path} is a checkpoint of another network: it has neither the variables {SCOPE}... of TF-Slim nor "
            "layers of Keras; save the whole model where it was made, and pass it as --model PATH"
        )
    return StoredNetwork(path, "Keras 2", tuple(layers), BY_DEPTH)


def _reading(reader: Any, name: str, path: Path) -> Callable[[], Array]:
    def read() -> Array:
        try:
            return np.asarray(reader.get_tensor(name))
        except Exception as error:  # a file of the checkpoint is missing or cut off
            raise _damaged(path, error) from error

    return read


def _damaged(path: Path, error: Exception) -> SourceError:
    return SourceError(
        f"{path} is not a TensorFlow checkpoint, is damaged, or lacks its .data files beside it ({one_line(error)}): "
        "copy all its files again"
    )


def _slim_layers(arrays: dict[str, StoredArray], path: Path) -> list[StoredLayer]:
    """Return the layers of TF-Slim's network; AuxLogits, which is for training, and optimizers' slots are left out."""
    layers = []
    for place in slim_places():
        layers.append(_layer(place.name, SLIM_ARRAYS, arrays, path))
        if place.is_normalized:
            layers.append(_layer(f"{place.name}/BatchNorm", {key: key for key in NORMALIZATION_ARRAYS}, arrays, path))
    has_head = "Logits/Logits/weights" in arrays
    return [*layers, _layer("Logits/Logits", SLIM_ARRAYS, arrays, path)] if has_head else layers


def _layer(name: str, keys: dict[str, str], arrays: dict[str, StoredArray], path: Path) -> StoredLayer:
    layer = StoredLayer(
        name, {ours: arrays[f"{name}/{key}"] for key, ours in keys.items() if f"{name}/{key}" in arrays}
    )
    if not layer.kind:
        raise SourceError(
            f"{path} has no {SCOPE}{name}, TF-Slim's network has one: pass a checkpoint of the whole network"
        )
    return layer


def _keras_layers(arrays: dict[str, StoredArray]) -> list[StoredLayer]:
    """Return the layers of a Keras 2 model, those of a nested one (`layer_with_weights-0/...-7`) in its place."""
    owners: dict[tuple[tuple[str, int], ...], dict[str, StoredArray]] = {}
    for name, array in arrays.items():
        owner, _, key = name.rpartition("/")
        places = tuple(_place(part) for part in owner.split("/"))
        if owner and SLOTS not in name and places[0][0] not in NO_LAYERS:
            owners.setdefault(places, {})[key] = array
    return [StoredLayer(None, owners[places]) for places in sorted(owners)]


def _place(part: str) -> tuple[str, int]:
    """Split `layer_with_weights-12` into its name and number, by which it is sorted; attributes have no number."""
    name, _, number = part.rpartition("-")
    return (name, int(number)) if name and number.isdecimal() else (part, 0)
