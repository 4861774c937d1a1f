"""Files of weights as Keras 2 lays them out, written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers

from edge_runtime.arrays import Array


def keras_2_names(model: keras.Model, offset: int) -> dict[str, str]:
    """Names as Keras 2 makes them up in a process that made other models before: numbers in order of creation."""
    names = {}
    for kind, prefix in ((layers.Conv2D, "conv2d"), (layers.BatchNormalization, "batch_normalization")):
        made_up = [layer.name for layer in model.layers if type(layer) is kind and layer.name.startswith(prefix)]
        in_order = sorted(made_up, key=lambda name: int(f"0{name.removeprefix(prefix).strip('_')}"))
        names |= {name: f"{prefix}_{number}" for number, name in enumerate(in_order, offset)}
    return names


def write_keras_2(
    model: keras.Model, path: Path, offset: int = 204, nested: str | None = None, frozen: int = 0, renamed: str = ""
) -> None:
    """Write weights as `save_weights("NAME.h5")` of Keras 2 does.

    Args:
        nested: name of a model that holds all layers but the dense ones: its weights are in one group, those of the
            first `frozen` layers after the others, and moving averages after all that is trained.
        renamed: what was put before the names of layers.
    """
    names = keras_2_names(model, offset)
    weighted = [layer for layer in model.layers if layer.weights]
    groups: dict[str, list[tuple[str, Array, bool]]] = {}
    for number, layer in enumerate(weighted):
        name = renamed + names.get(layer.name, layer.name)
        group = nested if nested and not isinstance(layer, layers.Dense) else name
        for weight in layer.weights:
            is_trained = number >= frozen and not weight.name.startswith("moving")
            groups.setdefault(group, []).append((f"{name}/{weight.name}:0", np.asarray(weight), is_trained))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["keras_version"] = b"2.4.0"
        for group, weights in groups.items():
            weights.sort(key=lambda weight: not weight[2])
            file.create_group(group).attrs["weight_names"] = [name.encode() for name, _, _ in weights]
            for name, value, _ in weights:
                file[group][name] = value


def write_keras_2_checkpoint(model: keras.Model, prefix: Path) -> None:
    """Write a checkpoint as `save_weights("NAME")` of Keras 2 does, of a model whose base is nested."""
    tensors: dict[str, Any] = {"save_counter/.ATTRIBUTES/VARIABLE_VALUE": tf.constant(1, tf.int64)}
    inside = [layer for layer in model.layers if layer.weights and not isinstance(layer, layers.Dense)]
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    places = [(f"layer_with_weights-0/layer_with_weights-{i}", layer) for i, layer in enumerate(inside)]
    places += [(f"layer_with_weights-{i}", layer) for i, layer in enumerate(dense, 1)]
    for place, layer in places:
        for weight in layer.weights:
            name = f"{place}/{weight.name}"
            tensors[f"{name}/.ATTRIBUTES/VARIABLE_VALUE"] = tf.constant(weight.numpy())
            tensors[f"{name}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"] = tf.zeros(1)
    save_checkpoint(prefix, tensors)


def save_checkpoint(prefix: Path, tensors: dict[str, Any]) -> None:
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(tensors.values())
    )


def write_head(path: Path, shapes: list[tuple[int, int]], others: dict[str, Array] | None = None) -> None:
    """Write 244 empty convolutions and a head in Keras 2's layout: enough to be recognised."""
    with h5py.File(path, "w") as file:
        names = [f"conv2d_{i}" for i in range(244)] + [f"dense_{i}" for i in range(len(shapes))] + list(others or {})
        arrays = [np.zeros((1, 1, 3, 1), np.float32)] * 244 + [np.zeros(shape, np.float32) for shape in shapes]
        file.attrs["layer_names"] = names
        for name, array in zip(names, [*arrays, *(others or {}).values()], strict=True):
            file[f"{name}/kernel:0" if name not in (others or {}) else f"{name}/alpha:0"] = array
            file[name].attrs["weight_names"] = [key for key in file[name]]
