"""Read the layers of a weights file of Keras 3 or Keras 2, in HDF5.

    Keras 3, .weights.h5    /layers/conv2d_7/vars/0          arrays by number, layers by class and number
    Keras 2, .weights.h5    the same; its first versions wrote /_layer_checkpoint_dependencies/ for /layers/
    Keras 2, .h5            /NAME/NAME/conv2d_7/kernel:0     arrays and layers by name

A nested model is a layer with layers in the first two, and one group with the weights of all its layers in the third. A
layer that consists of others, like the article's `Conv_Bn_Relu`, holds each of them in a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from convert.keras_models.hdf5 import CONTAINERS, class_and_number, text, texts
from convert.keras_models.weights.stored_weights import (
    BY_DEPTH,
    BY_NAME,
    KERNEL_ARRAYS,
    NORMALIZATION_ARRAYS,
    StoredArray,
    StoredLayer,
)

NO_LAYERS = ("vars", "optimizer")
"""Groups with arrays of the group itself, and the state of training."""


def hdf5_layers(file: h5py.File) -> tuple[str, list[StoredLayer], str]:
    """Return what saved a file, its layers and their order; no layers if it has another layout."""
    if any(isinstance(file.get(name), h5py.Group) for name in ("vars", *CONTAINERS)):
        return "Keras", list(_numbered_layers(file)), BY_DEPTH
    # A whole model saved as .h5 has the same groups one level down.
    group = file["model_weights"] if isinstance(file.get("model_weights"), h5py.Group) else file
    version = group.attrs.get("keras_version", file.attrs.get("keras_version"))
    nested = list(_named_groups(group))
    layers = [layer for layers in nested for layer in layers]
    # The group of a nested model has what is trained before what is frozen, so only names tell its layers apart.
    is_nested = any(len({layer.name for layer in layers}) > 1 for layers in nested)
    return "Keras" if version is None else f"Keras {text(version)}", layers, BY_NAME if is_nested else BY_DEPTH


def _numbered_layers(group: h5py.Group, name: str | None = None) -> Iterator[StoredLayer]:
    """Yield the layers in a group of a `.weights.h5`: arrays 0, 1, ... in `vars`; groups CLASS_NUMBER of a model.

    `name` is that of the layer whose group it is.
    """
    yield StoredLayer(name, _numbered_arrays(group))
    for key in _members(group):
        part = group[key]
        if not isinstance(part, h5py.Group):
            continue
        if key in CONTAINERS:
            for number in sorted(part, key=class_and_number):
                if isinstance(part[number], h5py.Group):
                    yield from _numbered_layers(part[number], _noted_name(part[number]))
        else:  # a part of a layer, which is called like the layer, or a model that another one holds
            yield from _numbered_layers(part, name or _noted_name(part))


def _members(group: h5py.Group) -> list[str]:
    return [
        *(key for key in CONTAINERS if key in group),
        *(key for key in group if key not in (*CONTAINERS, *NO_LAYERS)),
    ]


def _noted_name(group: h5py.Group) -> str | None:
    """Return the name of a layer: an attribute of its own `vars`, which exists even where it has no arrays itself."""
    variables = group.get("vars")
    noted = variables.attrs.get("name") if isinstance(variables, h5py.Group) else None
    return None if noted is None else text(noted)


def _numbered_arrays(part: object) -> dict[str, StoredArray]:
    """Return the arrays of a layer by their meaning, which follows from their number and rank."""
    variables = part.get("vars") if isinstance(part, h5py.Group) else None
    if not isinstance(variables, h5py.Group):
        return {}
    arrays = [_array(variables[key]) for key in sorted(variables) if isinstance(variables[key], h5py.Dataset)]
    if len(arrays) > 1 and all(len(array.shape) == 1 for array in arrays):
        # Those of keras.applications have no gamma: what follows them scales anyway.
        return dict(zip(NORMALIZATION_ARRAYS[-len(arrays) :], arrays, strict=False))
    return dict(zip(KERNEL_ARRAYS, arrays, strict=False))


def _named_groups(group: h5py.Group) -> Iterator[list[StoredLayer]]:
    """Yield the layers of each group of a Keras 2 `.h5`: attribute `layer_names`, and `weight_names` on each group."""
    for name in texts(group, "layer_names"):
        layer = group[name]
        arrays: dict[str, dict[str, StoredArray]] = {}
        for weight in texts(layer, "weight_names") if isinstance(layer, h5py.Group) else []:
            if isinstance(layer[weight], h5py.Dataset):
                owner, _, array = weight.rpartition("/")
                arrays.setdefault(owner.rpartition("/")[2], {})[array.partition(":")[0]] = _array(layer[weight])
        if _is_one_layer(arrays):
            merged = {key: array for each in arrays.values() for key, array in each.items()}
            others = tuple(key for key in merged if key not in (*KERNEL_ARRAYS, *NORMALIZATION_ARRAYS))
            yield [
                StoredLayer(name, {key: merged[key] for key in keys if key in merged})
                for keys in (KERNEL_ARRAYS, NORMALIZATION_ARRAYS, others)  # one layer may hold the first two
            ]
        else:
            yield [StoredLayer(owner, each) for owner, each in arrays.items()]


def _is_one_layer(arrays: dict[str, dict[str, StoredArray]]) -> bool:
    """Return whether the arrays of a group, by their owner, are those of one layer: no two have the same meaning."""
    keys = [key for each in arrays.values() for key in each]
    return len(keys) == len(set(keys))


def _array(data: h5py.Dataset) -> StoredArray:
    return StoredArray(tuple(data.shape), data.dtype.name, lambda: np.asarray(data[()]))
