"""Name the modules of operations in `.h5` files of Keras 3, which writes them without and then cannot read them itself.

`x / 127.5` on a symbolic tensor is an operation, TrueDivide, between the layers of a model. `.keras` files have its
module beside its class; `.h5` files of the same version do not.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import keras

OPERATIONS = ("numpy", "nn", "core", "image", "math", "einops")
"""The modules of `keras.src.ops` that define operations."""


def with_operation_modules(configuration: Any) -> dict[str, Any] | None:
    """Return a model's configuration in which all operations have a module; None where that changes nothing."""
    changed = _named(configuration)
    if changed == configuration or not isinstance(changed, dict):
        return None
    kind = changed.get("class_name")
    module = {"Functional": "keras.src.models.functional", "Sequential": "keras"}.get(str(kind))
    return changed | {"module": module, "registered_name": "Functional" if kind == "Functional" else None}


def _named(node: Any) -> Any:
    if isinstance(node, list):
        return [_named(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _named(value) for key, value in node.items()}
    if "inbound_nodes" in node and "module" not in node and "trainable" not in (node.get("config") or {}):
        # A layer says whether it is trained; Subtract and others are a layer and an operation.
        module = _module_of(str(node.get("class_name")))
        if module is not None:
            found |= {"module": module, "registered_name": node["class_name"]}
    return found


def _module_of(name: str) -> str | None:
    """Return the module of the operation with that name."""
    package = f"{keras.__name__}.src.ops"
    for part in OPERATIONS:
        module = importlib.import_module(f"{package}.{part}")
        found = getattr(module, name, None)
        if inspect.isclass(found) and issubclass(found, keras.Operation) and found.__module__ == module.__name__:
            return module.__name__
    return None
