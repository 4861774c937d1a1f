"""Set the weights of a translated Keras 2 model from its file, layer by layer.

    .h5           /model_weights/LAYER/...     arrays by name; a nested model is one LAYER
    .keras (zip)  /layers/CLASS_NUMBER/vars/0  arrays by number, layers by class and number, nested models within each
                                               other; Keras 2.12 wrote /_layer_checkpoint_dependencies/ for /layers/

Keras 3 has readers for both, which go by order: of `model.layers`, and of trainable before other weights. Orders differ
between the versions (layers sorted by depth, frozen layers), and equal shapes would hide a mistake. Here names decide
where a file has them, and the order of the file's own configuration where it has none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras

from convert.errors import SourceError
from convert.keras_models.hdf5 import CONTAINERS, class_and_number, texts
from convert.keras_models.legacy.values import LayerEntry, safe_name
from convert.keras_models.walk import flat_layers

MODELS = ("Functional", "Sequential", "Model")


def set_named_weights(model: keras.Model, file: h5py.File, path: Path) -> None:
    """Fill `model` from the group `model_weights` of a `.h5` file.

    Raises:
        SourceError: a layer is missing or does not fit; the message names it.
    """
    group = file.get("model_weights", file)
    layers = {layer.name: layer for layer in model.layers}
    filled = set()
    for name in texts(group, "layer_names"):
        layer, stored = layers.get(safe_name(name)), group[name]
        arrays = {weight: stored[weight] for weight in texts(stored, "weight_names")}
        if layer is None or not arrays:
            continue  # an operation that is another layer now
        _set(_by_name(layer, arrays) or _by_order(layer, arrays, path), path)
        filled.add(layer.name)
    _check_all_filled([layer for layer in model.layers if layer.name not in filled], path)


def set_numbered_weights(model: keras.Model, configuration: LayerEntry, file: h5py.File, path: Path) -> None:
    """Fill `model` from the `model.weights.h5` in a `.keras` archive; `configuration` is that of Keras 2.

    Raises:
        SourceError: a layer is missing or does not fit; the message names it.
    """
    filled: list[Any] = []
    for layer, arrays in _numbered(model, configuration, file, path):
        weights = _own_order(layer, path)
        if len(weights) != len(arrays):
            raise SourceError(
                f"layer {layer.name} of {path} has {len(arrays)} weights, not {len(weights)}: save it again"
            )
        _set(list(zip(weights, arrays, strict=True)), path)
        filled.append(layer)
    _check_all_filled([layer for layer in flat_layers(model) if not any(layer is each for each in filled)], path)


def finish(model: keras.Model) -> None:
    """Let layers recompute the constants that they derive from their weights."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _own_order(layer: Any, path: Path) -> list[Any]:
    """Return the weights of a layer in the order in which it stores them, whether they are trained or not."""
    weights = [*layer._trainable_variables, *layer._non_trainable_variables]
    if len(weights) != len(layer.weights):
        raise SourceError(
            f"layer {layer.name} of {path} holds other layers ({type(layer).__name__}), which archives of Keras 2 "
            "store without names: save the model as NAME.h5"
        )
    return weights


def _by_name(layer: Any, arrays: dict[str, h5py.Dataset]) -> list[tuple[Any, h5py.Dataset]] | None:
    """Return pairs of a weight and its array, if names and shapes agree one to one."""
    weights = {_last_two(weight.path): weight for weight in layer.weights}
    stored = {_last_two(name): array for name, array in arrays.items()}
    is_one_to_one = len(weights) == len(layer.weights) and len(stored) == len(arrays) and set(weights) == set(stored)
    if not is_one_to_one or any(tuple(weights[name].shape) != stored[name].shape for name in weights):
        return None
    return [(weights[name], stored[name]) for name in weights]


def _last_two(name: str) -> tuple[str, ...]:
    """Return the names of the layer and of the weight: `stem` and `kernel` of base/stem/kernel:0."""
    return tuple(re.sub(r":\d+$", "", name).split("/")[-2:])


def _by_order(layer: Any, arrays: dict[str, h5py.Dataset], path: Path) -> list[tuple[Any, h5py.Dataset]]:
    """Return pairs in the order of Keras 2: trainable weights, then the others."""
    weights = list(layer.trainable_weights) + list(layer.non_trainable_weights)
    if len(weights) != len(arrays):
        raise SourceError(f"layer {layer.name} of {path} has {len(arrays)} weights, not {len(weights)}: save it again")
    return list(zip(weights, arrays.values(), strict=True))


def _set(pairs: list[tuple[Any, h5py.Dataset]], path: Path) -> None:
    """Assign arrays, each checked before it is read: what a file declares may not fit in memory."""
    for weight, array in pairs:
        if not isinstance(array, h5py.Dataset) or array.shape != tuple(weight.shape):
            shape = getattr(array, "shape", None)
            raise SourceError(
                f"weight {weight.path} of {path} does not fit: it is {shape}, not {tuple(weight.shape)}; save the "
                "model again"
            )
        if array.dtype.kind not in "fiu":
            raise SourceError(f"weight {weight.path} of {path} is of type {array.dtype}: save it in float32")
        weight.assign(array[()])


def _check_all_filled(layers: list[Any], path: Path) -> None:
    missing = next((layer for layer in layers if layer.weights), None)
    if missing is not None:
        raise SourceError(f"layer {missing.name} of {path} has no weights in the file: save the model again")


def _numbered(
    model: Any, configuration: LayerEntry, group: Any, path: Path
) -> Iterator[tuple[Any, list[h5py.Dataset]]]:
    """Yield the layers with weights and their arrays, those of nested models in place of the model."""
    container: Any = next((group[name] for name in CONTAINERS if isinstance(group.get(name), h5py.Group)), {})
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(container, key=class_and_number):
        groups[class_and_number(key)[0]].append(key)
    entries: dict[str, list[LayerEntry]] = defaultdict(list)
    for entry in configuration["config"]["layers"]:
        entries[_snake_case(entry["class_name"])].append(entry)
    layers = {layer.name: layer for layer in model.layers}
    for kind, same in entries.items():
        targets = [layers.get(safe_name(entry.get("name") or entry["config"]["name"])) for entry in same]
        if not any(target is not None and target.weights for target in targets):
            continue
        if len(groups[kind]) != len(same):
            raise SourceError(
                f"{path} holds the weights of {len(groups[kind])} layers of {kind}, its model has {len(same)}: save it "
                "again"
            )
        for entry, target, key in zip(same, targets, groups[kind], strict=True):
            if entry["class_name"] in MODELS:
                yield from _numbered(target, entry, container[key], path)
            elif target is not None and target.weights:
                variables = container[key].get("vars", {})
                yield target, [variables[number] for number in sorted(variables, key=int)]


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras' archives write it: conv2d of Conv2D."""
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
