"""Read the layers of timm's `inception_resnet_v2` from a safetensors file: named arrays, without code.

    conv2d_1a.conv.weight, conv2d_1a.bn.running_mean, repeat.0.conv2d.bias, classif.weight

PyTorch keeps kernels as (out, in, height, width) and dense ones as (out, in); they are turned to Keras' order here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import SourceError
from convert.keras_models.hdf5 import one_line
from convert.keras_models.weights.published_names import timm_places
from convert.keras_models.weights.stored_weights import BY_CREATION, StoredArray, StoredLayer, StoredNetwork
from edge_runtime.arrays import Array

FIRST = "conv2d_1a.conv.weight"
COUNTER = "num_batches_tracked"
HEADS = ("classif", "last_linear")
"""The dense layer in timm, and in the older port that timm's is based on."""
KERNEL = {"weight": "kernel", "bias": "bias"}
NORMALIZATION = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}
TO_KERAS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,), 0: ()}
"""For each rank, the axes of an array of PyTorch in the order in which Keras has them."""


@contextmanager
def read_safetensors(path: Path) -> Iterator[StoredNetwork]:
    """Open a safetensors file of timm's network.

    Raises:
        SourceError: it is damaged, or has the arrays of another network.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: _array(file, name) for name in file.keys()}  # noqa: SIM118
            yield StoredNetwork(path, "timm", tuple(_timm_layers(arrays, path)), BY_CREATION)
    except safetensors.SafetensorError as error:
        raise SourceError(
            f"{path} is not a safetensors file or is damaged ({one_line(error)}): save it again"
        ) from error


def _array(file: Any, name: str) -> StoredArray:
    declared = file.get_slice(name)
    shape = tuple(declared.get_shape())
    axes = TO_KERAS.get(len(shape), tuple(range(len(shape))))
    dtype = str(declared.get_dtype())
    return StoredArray(tuple(shape[axis] for axis in axes), DTYPES.get(dtype, dtype), _reading(file, name, axes))


def _reading(file: Any, name: str, axes: tuple[int, ...]) -> Callable[[], Array]:
    return lambda: np.asarray(file.get_tensor(name)).transpose(axes)


def _timm_layers(arrays: dict[str, StoredArray], path: Path) -> list[StoredLayer]:
    first = next((name for name in sorted(arrays) if f".{name}".endswith(f".{FIRST}")), None)
    if first is None:
        raise SourceError(
            f"{path} has none of the arrays of timm's inception_resnet_v2, such as {FIRST}: other "
            "networks of PyTorch are not read; export it to a Keras model, and pass that as --model PATH"
        )
    prefix = first.removesuffix(FIRST)  # wrappers put their own before: "module.", "model."
    arrays = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    layers = []
    for place in timm_places():
        if place.is_normalized:
            layers.append(_layer(f"{place.name}.conv", KERNEL, arrays, path))
            layers.append(_layer(f"{place.name}.bn", NORMALIZATION, arrays, path))
        else:
            layers.append(_layer(place.name, KERNEL, arrays, path))
    layers += [_layer(name, KERNEL, arrays, path) for name in HEADS if f"{name}.weight" in arrays]
    known = {f"{layer.name}.{key}" for layer in layers for key in (*NORMALIZATION, COUNTER)}
    for name in arrays:
        if name not in known:
            raise SourceError(
                f"{path} has {name}, timm's inception_resnet_v2 has no such array: export the network to a Keras "
                "model, and pass that as --model PATH"
            )
    return layers


def _layer(name: str, keys: dict[str, str], arrays: dict[str, StoredArray], path: Path) -> StoredLayer:
    layer = StoredLayer(
        name, {ours: arrays[f"{name}.{key}"] for key, ours in keys.items() if f"{name}.{key}" in arrays}
    )
    if not layer.kind:
        raise SourceError(
            f"{path} has no {name}.weight, timm's inception_resnet_v2 has one: pass its whole state_dict()"
        )
    return layer
