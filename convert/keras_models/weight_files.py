"""Load stored weights into the article's network: layouts of Keras 3 and Keras 2, matched by name or order.

Three kinds of files fit, each with layers as our builder makes them (a convolution and a batch-normalization) or as
the article's script does (one `Conv_Bn_Relu` layer that holds both):

    Keras 3, .weights.h5    /layers/conv__bn__relu_7/conv/vars/0      arrays by number, layers by class and number
    Keras 2, .weights.h5    the same; its first versions wrote /_layer_checkpoint_dependencies/ for /layers/
    Keras 2, .h5            /NAME/NAME/conv2d_7/kernel:0              arrays and layers by name

The number of a layer is its place in `model.layers`, sorted by depth: the longest path to the output. Branches that
run side by side are interleaved there, so it is not the order in which layers were created. A unit's place is the
same whether it counts as one layer or as three, since all side branches are made of units: `model.layers` of our
network gives the order for every kind of file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from convert.errors import SourceError
from convert.keras_models.hdf5 import open_hdf5, text
from convert.keras_models.inception_resnet_v2 import unit_names
from edge_runtime.arrays import Array

CONVOLUTION_ARRAYS = ("kernel", "bias")
NORMALIZATION_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")
DENSE = "dense"
KINDS_BY_RANK = {4: "convolutions", 2: DENSE}
"""The kinds of layers that have a kernel, by its rank."""


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a file: its name, if the file has names, and its arrays, not yet read."""

    name: str | None
    arrays: dict[str, h5py.Dataset]

    @property
    def kind(self) -> str:
        """Return what kind of layer has such arrays; "" for one without weights, like the counter of a dropout."""
        if any(key in self.arrays for key in NORMALIZATION_ARRAYS):
            return "batch-normalizations"
        return KINDS_BY_RANK.get(self.arrays["kernel"].ndim, "") if "kernel" in self.arrays else ""


def set_stored_weights(model: keras.Model, path: Path) -> None:
    """Fill `model` from a weights file. Either all layers are set or none.

    Args:
        model: made by `inception_resnet_v2`.
        path: an HDF5 file in one of the layouts above.

    Raises:
        SourceError: the file is damaged, of another layout or of another network; the message names the first layer,
            in network order, that does not fit.
    """
    with open_hdf5(path) as file:
        stored: dict[str, list[StoredLayer]] = defaultdict(list)
        for layer in _stored_layers(file):
            stored[layer.kind].append(layer)
        names = [layer.name.removesuffix("_conv") for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        if not stored["convolutions"]:
            raise SourceError(
                f"{path} has no convolutions in a layout of Keras: save the article's network with "
                "model.save_weights('NAME.weights.h5'), or pass a whole model as --model PATH"
            )
        convolutions = _match(stored["convolutions"], names, "convolutions", path)
        normalizations = _match(stored["batch-normalizations"], names, "batch-normalizations", path)
        if len(stored[DENSE]) != 1:
            raise SourceError(f"{path} holds {len(stored[DENSE])} dense layers, the article's network has one")

        values: dict[str, list[Array]] = {}
        for name in unit_names(model):
            for layer_name, layer, arrays in (
                (f"{name}_conv", convolutions[name], CONVOLUTION_ARRAYS),
                (f"{name}_bn", normalizations[name], NORMALIZATION_ARRAYS),
            ):
                values[layer_name] = _read(layer, arrays, model.get_layer(layer_name), path)
        dense = model.get_layer(DENSE)
        classes = stored[DENSE][0].arrays["kernel"].shape[-1]
        if classes != dense.units:
            raise SourceError(
                f"layer dense of {path} has {classes} classes, not {dense.units}: pass --classes {classes}"
            )
        values[DENSE] = _read(stored[DENSE][0], CONVOLUTION_ARRAYS, dense, path)
    for layer_name, new in values.items():
        model.get_layer(layer_name).set_weights(new)


def _stored_layers(file: h5py.File) -> Iterator[StoredLayer]:
    """Yield the layers of `file`, whichever layout it has, each kind in the order of `model.layers`."""
    for name in ("layers", "_layer_checkpoint_dependencies"):
        if isinstance(file.get(name), h5py.Group):
            return _numbered_layers(file[name])
    # A whole model saved as .h5 has the same groups one level down.
    return _named_layers(file["model_weights"] if isinstance(file.get("model_weights"), h5py.Group) else file)


def _numbered_layers(group: h5py.Group) -> Iterator[StoredLayer]:
    """Yield the layers of a `.weights.h5`: groups CLASS_NUMBER/.../vars with arrays 0, 1, ..."""
    for key in sorted(group, key=_class_and_number):
        layer = group[key]
        if not isinstance(layer, h5py.Group):
            continue
        # A layer's name is an attribute of its own `vars`, which exists even where it has no arrays itself.
        noted = layer["vars"].attrs.get("name") if "vars" in layer else None
        for part in [layer, *(layer[name] for name in layer if name != "vars")]:
            yield StoredLayer(None if noted is None else text(noted), _numbered_arrays(part))


def _class_and_number(key: str) -> tuple[str, int]:
    """Split `conv2d_12` into (conv2d, 12); the first layer of a class has no number."""
    head, _, tail = key.rpartition("_")
    return (head, int(tail)) if head and tail.isdecimal() else (key, 0)


def _numbered_arrays(part: object) -> dict[str, h5py.Dataset]:
    """Return the arrays of a layer by their meaning, which follows from their number and rank."""
    variables = part.get("vars") if isinstance(part, h5py.Group) else None
    if not isinstance(variables, h5py.Group):
        return {}
    arrays = [variables[key] for key in sorted(variables) if isinstance(variables[key], h5py.Dataset)]
    is_normalization = len(arrays) > 1 and all(array.ndim == 1 for array in arrays)
    return dict(zip(NORMALIZATION_ARRAYS if is_normalization else CONVOLUTION_ARRAYS, arrays, strict=False))


def _named_layers(group: h5py.Group) -> Iterator[StoredLayer]:
    """Yield the layers of a Keras 2 `.h5`: attribute `layer_names`, and `weight_names` on each layer's group."""
    for name in _texts(group, "layer_names"):
        layer = group[name]
        weights = _texts(layer, "weight_names") if isinstance(layer, h5py.Group) else []
        arrays = {
            weight.rpartition("/")[2].partition(":")[0]: layer[weight]
            for weight in weights
            if isinstance(layer[weight], h5py.Dataset)
        }
        for keys in (CONVOLUTION_ARRAYS, NORMALIZATION_ARRAYS):  # one layer may hold both
            yield StoredLayer(name, {key: arrays[key] for key in keys if key in arrays})


def _texts(group: h5py.Group, name: str) -> list[str]:
    """Return the list in an attribute; one of more than 64 KB is split into attributes `name0`, `name1`, ..."""
    chunks = [name] if name in group.attrs else []
    while f"{name}{len(chunks)}" in group.attrs:
        chunks.append(f"{name}{len(chunks)}")
    return [text(value) for chunk in chunks for value in np.atleast_1d(group.attrs[chunk])]


def _match(stored: list[StoredLayer], names: list[str], kind: str, path: Path) -> dict[str, StoredLayer]:
    """Return the stored layers by unit name: their own where all names are the article's, else by order of `names`."""
    by_name = {re.sub("_(conv|bn)$", "", layer.name or ""): layer for layer in stored}
    if len(stored) == len(names):
        if set(by_name) == set(names):
            return {name: by_name[name] for name in names}
        return dict(zip(names, stored, strict=True))
    another = f"{path} holds {len(stored)} {kind}, the article's network has {len(names)}"
    if any(name in by_name for name in names):
        missing = [f"{name} is missing" for name in names if name not in by_name]
        extra = [f"{name} is not in the network" for name in by_name if name not in names]
        another += f" ({(missing + extra)[0]})"
    elif len(stored) < len(names):
        another += f" (none is left for {names[len(stored)]})"
    raise SourceError(f"{another}: if it is another network, pass the whole model as --model PATH")


def _read(stored: StoredLayer, keys: tuple[str, ...], target: keras.layers.Layer, path: Path) -> list[Array]:
    """Return the arrays `keys` of a layer, checked before they are read: what a file declares may not fit in memory."""
    values = []
    for key in keys:
        array, expected = stored.arrays.get(key), tuple(getattr(target, key).shape)
        if array is None:
            raise SourceError(
                f"layer {target.name} of {path} has no {key}: the article's network needs one of shape {expected}"
            )
        if array.shape != expected:
            raise SourceError(
                f"layer {target.name} of {path} does not fit: its {key} is {array.shape}, the article's network has "
                f"{expected}; if it is another network, pass the whole model as --model PATH"
            )
        if array.dtype.kind != "f":
            raise SourceError(f"layer {target.name} of {path} has a {key} of type {array.dtype}: save it in float32")
        value = array[()].astype(np.float32)
        if not np.isfinite(value).all():
            raise SourceError(
                f"layer {target.name} of {path} has NaN or infinity in its {key}: training diverged, pass other weights"
            )
        values.append(value)
    return values
