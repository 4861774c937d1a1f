"""Read a Keras network that a JavaScript package carries: TensorFlow.js' layers format, in modules, without node.

`model.min.js` holds the JSON of the format as minified JavaScript literals, `groupM-shardNofM.min.js` the weights as a
base64 string. Weights can be stored in 8 bits: value = min + scale * byte (tfjs-core, io/types.ts).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"'  # a string
    r"|![01]|(?<![\w$.])-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"  # a Boolean, a number
    r"|[A-Za-z_$][\w$]*=?"  # a key, a name that is given a value, or the name of another literal
)
WORDS = {"!0": "true", "!1": "false", "true": "true", "false": "false", "null": "null"}


def literals(module: str) -> dict[str, Any]:
    """Return name -> value of the literals in a module `var a={...},b=[...];export{...};`.

    A literal that names another one has the other's name as a string.
    """
    declared = re.search(r"^\s*var (.*);export\{", module, re.DOTALL)
    if declared is None:
        raise ValueError("no module of one var and one export")
    return dict(json.loads("{" + TOKEN.sub(_as_json, declared[1]) + "}"))


def _as_json(token: re.Match[str]) -> str:
    """Write a token of JavaScript as one of JSON."""
    text = token[0]
    if text.startswith('"') or text in WORDS:
        return WORDS.get(text, text)
    if text[0].isdigit() or text[0] in "-.":
        return repr(float(text)) if re.search(r"[.eE]", text) else text
    return f"{json.dumps(text[:-1])}:" if text.endswith("=") else json.dumps(text)


def read_topology(module: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the configuration of the Keras model and the manifest of its weights, of `model.min.js`."""
    found = literals(module)
    (parts,) = (value for value in found.values() if isinstance(value, dict) and "weightsManifest" in value)
    return found[parts["modelTopology"]]["model_config"], found[parts["weightsManifest"]]


def read_shard(module: str) -> bytes:
    """Return the bytes of `groupM-shardNofM.min.js`."""
    (content,) = literals(module).values()
    return base64.b64decode(content, validate=True)


def read_weights(manifest: Sequence[Mapping[str, Any]], content: bytes) -> dict[str, np.ndarray]:
    """Return name -> float32 weights; bytes that are missing or left are a `ValueError`."""
    found, offset = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        shape, stored = tuple(map(int, entry["shape"])), entry.get("quantization")
        dtype, count = np.dtype(stored["dtype"] if stored else entry["dtype"]), int(np.prod(shape))
        values = np.frombuffer(content, dtype, count, offset).astype(np.float64)
        offset += count * dtype.itemsize
        values = values * stored["scale"] + stored["min"] if stored else values
        found[entry["name"]] = values.astype(np.float32).reshape(shape)
    if offset != len(content):
        raise ValueError(f"weights take {offset} bytes, the shards have {len(content)}")
    return found


def build(configuration: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Any:
    """Return the Keras network; a weight without a place, or a place without one, is an error."""
    import keras

    from convert.keras_models.legacy.configuration import translate_configuration

    model, unused = keras.saving.deserialize_keras_object(translate_configuration(configuration)), set(weights)
    for layer in model._flatten_layers(include_self=False):
        for variable in () if hasattr(layer, "layers") else layer.weights:
            name = f"{layer.name}/{variable.name}"
            if isinstance(layer, keras.layers.DepthwiseConv2D):  # Keras 2 had a word of its own
                name = name.replace("/kernel", "/depthwise_kernel")
            variable.assign(weights[name].reshape(variable.shape))
            unused.discard(name)
    if unused:
        raise ValueError(f"no place for {', '.join(sorted(unused)[:3])}")
    return model
