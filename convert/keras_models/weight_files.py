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

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import keras
import numpy as np
import numpy.typing as npt

from convert.errors import SourceError
from convert.keras_models.hdf5 import open_hdf5, text
from convert.keras_models.inception_resnet_v2 import unit_names

CONVOLUTION_ARRAYS = ("kernel", "bias")
NORMALIZATION_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")
DENSE = "dense"


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a file: its unit's name, if the file has names, and its arrays, not yet read."""

    name: str | None
    arrays: dict[str, h5py.Dataset]


@dataclass(frozen=True)
class StoredNetwork:
    """The layers in a file that hold weights, each kind in the order of `model.layers`."""

    convolutions: list[StoredLayer] = field(default_factory=list)
    normalizations: list[StoredLayer] = field(default_factory=list)
    dense: list[StoredLayer] = field(default_factory=list)


def set_stored_weights(model: keras.Model, path: Path) -> None:
    """Fill `model` from a weights file. Either all layers are set or none.

    Args:
        model: made by `convert.keras_models.inception_resnet_v2.inception_resnet_v2`.
        path: an HDF5 file in one of the layouts above.

    Raises:
        SourceError: the file is damaged, of another layout or of another network; the message names the
            first layer, in network order, that does not fit.
    """
    with open_hdf5(path) as file:
        stored = _stored_network(file, path)
        by_depth = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        names = [name.removesuffix("_conv") for name in by_depth]
        convolutions = _match(stored.convolutions, names, "convolutions", path)
        normalizations = _match(stored.normalizations, names, "batch-normalizations", path)
        if len(stored.dense) != 1:
            raise SourceError(f"{path} holds {len(stored.dense)} dense layers, the article's network has one")

        values: dict[str, list[npt.NDArray[np.float32]]] = {}
        for name in unit_names(model):
            for layer_name, layer, arrays in (
                (f"{name}_conv", convolutions[name], CONVOLUTION_ARRAYS),
                (f"{name}_bn", normalizations[name], NORMALIZATION_ARRAYS),
            ):
                values[layer_name] = _read(layer, arrays, model.get_layer(layer_name), path)
        _check_classes(stored.dense[0], model, path)
        values[DENSE] = _read(stored.dense[0], CONVOLUTION_ARRAYS, model.get_layer(DENSE), path)
    for layer_name, new in values.items():
        model.get_layer(layer_name).set_weights(new)


def _stored_network(file: h5py.File, path: Path) -> StoredNetwork:
    """Find the layers of `file`, whichever layout it has."""
    for name in ("layers", "_layer_checkpoint_dependencies"):
        if isinstance(file.get(name), h5py.Group):
            network = _numbered_layers(file[name])
            break
    else:
        # A whole model saved as .h5 has the same groups one level down.
        group = file["model_weights"] if isinstance(file.get("model_weights"), h5py.Group) else file
        network = _named_layers(group)
    if not network.convolutions:
        raise SourceError(
            f"{path} has no convolutions in a layout of Keras: save the article's network with "
            "model.save_weights('NAME.weights.h5'), or pass a whole model as --model PATH"
        )
    return network


def _numbered_layers(group: h5py.Group) -> StoredNetwork:
    """Return the layers of a `.weights.h5`: groups CLASS_NUMBER/.../vars with arrays 0, 1, ..."""
    network = StoredNetwork()
    for key in sorted(group, key=_class_and_number):
        if not isinstance(group[key], h5py.Group):
            continue
        layer = group[key]
        for part in [layer, *(layer[name] for name in layer if name != "vars")]:
            # A layer's name is an attribute of its own `vars`, which exists even where it has no arrays itself.
            noted = layer["vars"].attrs.get("name") if "vars" in layer else None
            _add(network, None if noted is None else text(noted), _numbered_arrays(part))
    return network


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


def _named_layers(group: h5py.Group) -> StoredNetwork:
    """Return the layers of a Keras 2 `.h5`: attribute `layer_names`, and `weight_names` on each layer's group."""
    network = StoredNetwork()
    for name in _texts(group, "layer_names"):
        layer = group[name]
        weights = _texts(layer, "weight_names") if isinstance(layer, h5py.Group) else []
        arrays = {
            weight.rpartition("/")[2].partition(":")[0]: layer[weight]
            for weight in weights
            if isinstance(layer[weight], h5py.Dataset)
        }
        _add(network, name, {key: arrays[key] for key in CONVOLUTION_ARRAYS if key in arrays})
        _add(network, name, {key: arrays[key] for key in NORMALIZATION_ARRAYS if key in arrays})
    return network


def _texts(group: h5py.Group, name: str) -> list[str]:
    """Return the list in an attribute; one of more than 64 KB is split into attributes `name0`, `name1`, ..."""
    chunks = [name] if name in group.attrs else []
    while f"{name}{len(chunks)}" in group.attrs:
        chunks.append(f"{name}{len(chunks)}")
    return [text(value) for chunk in chunks for value in np.atleast_1d(group.attrs[chunk])]


def _add(network: StoredNetwork, name: str | None, arrays: dict[str, h5py.Dataset]) -> None:
    """File a layer under its kind; leave out one without weights, like the counter of a dropout."""
    if any(key in arrays for key in NORMALIZATION_ARRAYS):
        network.normalizations.append(StoredLayer(name and name.removesuffix("_bn"), arrays))
    elif "kernel" in arrays and arrays["kernel"].ndim == 4:
        network.convolutions.append(StoredLayer(name and name.removesuffix("_conv"), arrays))
    elif "kernel" in arrays and arrays["kernel"].ndim == 2:
        network.dense.append(StoredLayer(name, arrays))


def _match(stored: list[StoredLayer], names: list[str], kind: str, path: Path) -> dict[str, StoredLayer]:
    """Return the stored layers by unit name: their own where all names are the article's, else by order of `names`."""
    by_name = {layer.name: layer for layer in stored}
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


def _check_classes(dense: StoredLayer, model: keras.Model, path: Path) -> None:
    stored, asked = dense.arrays["kernel"].shape[-1], model.get_layer(DENSE).units
    if stored != asked:
        raise SourceError(f"layer dense of {path} has {stored} classes, not {asked}: pass --classes {stored}")


def _read(
    stored: StoredLayer, keys: tuple[str, ...], target: keras.layers.Layer, path: Path
) -> list[npt.NDArray[np.float32]]:
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
