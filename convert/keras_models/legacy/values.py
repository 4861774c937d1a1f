"""Values in configurations of Keras 2, and the entries of Keras 3 that they become."""

from __future__ import annotations

import inspect
from typing import Any

import keras

LayerEntry = dict[str, Any]
"""A layer in a configuration: its class, its options and its calls."""


class LegacyError(ValueError):
    """A model of Keras 2 has no equal in Keras 3; the message goes on after the name of the file."""


def plain(value: Any) -> Any:
    """Return a value without the wrappers that Keras 2 stores tuples, shapes and NumPy numbers in."""
    if isinstance(value, dict):
        match value.get("class_name"):
            case "__numpy__" | "__tensor__":
                return value["config"]["value"]
            case "__tuple__" | "TensorShape" | "ListWrapper":
                return [plain(item) for item in value["items"]]
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def is_reference(value: Any) -> bool:
    """Return whether a value names a tensor: the layer, its call, the number of its output."""
    return isinstance(value, list) and len(value) == 3 and [type(item) for item in value] == [str, int, int]


def safe_name(name: str) -> str:
    """Return the name of a layer; Keras 3 takes no slash in it."""
    return str(name).replace("/", "_")


def tensor(layer: str, call: int, index: int) -> LayerEntry:
    """Return what Keras 3 writes for a tensor; its shape follows when the layer is called."""
    history = [layer, call, index]
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": history}}


def layer_entry(class_name: str, name: str, options: dict[str, Any]) -> LayerEntry:
    """Return the entry of one of Keras' layers."""
    applications = inspect.getmodule(keras.applications.InceptionResNetV2)
    is_public = hasattr(keras.layers, class_name)
    return {
        "module": "keras.layers" if is_public else getattr(applications, "__name__", ""),
        "class_name": class_name,
        "config": {"name": name} | {key: value for key, value in options.items() if key != "name"},
        "registered_name": None if is_public else class_name,
        "name": name,
    }


def operation_entry(module: str, class_name: str, name: str, options: dict[str, Any]) -> LayerEntry:
    """Return the entry of one of Keras' operations, which lie in the modules of `keras.ops`."""
    return {
        "module": f"keras.src.ops.{module}",
        "class_name": class_name,
        "config": {"name": name} | options,
        "registered_name": class_name,
        "name": name,
    }
