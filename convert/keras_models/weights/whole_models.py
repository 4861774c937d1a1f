"""Refuse a whole model as weights, if the network to be filled is not the one that its file describes.

Weights of a whole model alone would lose what its configuration says. A file with classes of its own goes on as
weights: it could not be opened as a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from convert.errors import SourceError
from convert.keras_models import formats
from convert.keras_models.configurations import check_configuration, read_configuration
from convert.keras_models.formats import recognize
from convert.keras_models.heads import ACTIVATIONS, LINEAR, PASS_THROUGH
from convert.keras_models.model_files import translated_configuration
from edge_runtime.specs import SOFTMAX

Entry = dict[str, Any]
HARMLESS = {"InputLayer", "Activation", "ReLU", *PASS_THROUGH, *ACTIVATIONS}
"""Classes of layers that change no value, or only activate, which is judged by the activation."""
IN_TRAINING = ("Random", "Spatial", "Gaussian", "Alpha", "ActivityRegularization")
"""How names of classes begin whose layers do nothing but in training."""
RELU = "relu"
RELU_OPTIONS = ("max_value", "negative_slope", "threshold")
"""Options of a ReLU layer that make another function of it."""


def refuse_other_model(path: Path, network: keras.Model, activation: str) -> None:
    """Refuse a file with a whole model that is not `network`, which ends in `activation`.

    Raises:
        SourceError: it is made of Keras' own layers, and ends in something else or has other layers.
    """
    layers = _own_layers(path)
    known = {type(layer).__name__ for layer in network._flatten_layers()}
    difference = next(_differences(layers, known, activation), None) if layers else None
    if difference is not None:
        raise SourceError(f"{path} is a whole model that {difference}: pass it as --model {path}")


def _own_layers(path: Path) -> list[Entry]:
    """Return the layers of a whole model that could be opened as one; none for weights and for all other models."""
    if recognize(path).holds != formats.MODEL:
        return []
    try:
        configuration = read_configuration(path)
        content = translated_configuration(configuration, path) or configuration.content
        check_configuration(content, path)
    except SourceError:
        return []
    return list(_layers(content))


def _layers(entry: Any) -> Iterator[Entry]:
    """Yield the layers of a model and of those within it, in the order of the file: the last makes the answer."""
    options = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(options, dict):
        return
    if not isinstance(options.get("layers"), list):
        yield entry
    for layer in options.get("layers") or []:
        yield from _layers(layer)


def _differences(layers: Sequence[Entry], known: set[str], activation: str) -> Iterator[str]:
    """Yield what a model does and a network of such classes of layers does not."""
    end = next((i for i in reversed(range(len(layers))) if not _passes_on(layers[i])), 0)
    last = _activation(layers[end])
    if last != activation and not (last in (LINEAR, "log_softmax") and activation == SOFTMAX):
        yield f"ends in {last}"
    for layer in layers:
        kind = layer["class_name"].rpartition(">")[2]
        if kind not in known | HARMLESS and not kind.startswith(IN_TRAINING):
            yield f"has a {kind} layer{_name(layer)}"
    for i, layer in enumerate(layers[:end]):
        found = _activation(layer)
        if found not in (LINEAR, RELU):
            yield f"has {found} in its layer{_name(layer)}"
        is_relu_behind = any(_activation(each) == RELU for each in layers[i + 1 : end])
        if layer["class_name"] == "Dense" and found == LINEAR and not is_relu_behind:
            yield f"has no activation in its layer{_name(layer)}"


def _passes_on(layer: Entry) -> bool:
    kind = layer["class_name"]
    return (
        kind in PASS_THROUGH or kind.startswith(IN_TRAINING) or (kind == "Activation" and _activation(layer) == LINEAR)
    )


def _activation(layer: Entry) -> str:
    """Return the name of the activation that a layer has or is; "linear" for none."""
    kind, options = layer["class_name"], layer["config"]
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind]
    if kind == "ReLU":
        more = [f"{key}={options[key]}" for key in RELU_OPTIONS if options.get(key)]
        return f"{kind}({', '.join(more)})" if more else RELU
    found = options.get("activation") or LINEAR
    if isinstance(found, dict):
        found = found["config"] if isinstance(found.get("config"), str) else found.get("class_name")
    return str(found)


def _name(layer: Entry) -> str:
    name = layer.get("name") or layer["config"].get("name")
    return f" {name}" if isinstance(name, str) else ""
