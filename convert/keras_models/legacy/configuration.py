"""Translate configurations of Keras 2 (TensorFlow up to 2.15, tf-keras) into those of Keras 3, as plain data.

No object is made and no code in the file is touched. What only training uses (initializers, regularizers, seeds) is
left out; a layer or an option that Keras 3 does not have is translated by a table or refused by name. The two versions
differ in more than names: calls of nested models are counted from 1, numbers can be wrapped in objects, and
`hard_sigmoid` is another function.
"""

from __future__ import annotations

import inspect
import itertools
import re
from dataclasses import dataclass, field
from typing import Any

import keras

from convert.keras_models.legacy.operators import OPERATOR_LAYERS, operator_layers
from convert.keras_models.legacy.values import (
    LayerEntry,
    LegacyError,
    is_reference,
    layer_entry,
    plain,
    safe_name,
    tensor,
)

MODELS = {"Functional": "Functional", "Model": "Functional", "Sequential": "Sequential"}
"""Classes of models, by their names in all versions of Keras 2."""

RESIDUAL_BLOCK = re.compile(r"block(35|17|8)_\d+")
"""The names that keras.applications gives to the residual sums of Inception-ResNet-V2."""

RENAMED_LAYERS = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Convolution2D": "Conv2D",
    "RandomHeight": "Identity",  # augmentation does nothing at inference
    "RandomWidth": "Identity",
}
RENAMED_OPTIONS = {("InputLayer", "batch_input_shape"): "batch_shape", ("LeakyReLU", "alpha"): "negative_slope"}

ONLY_VALUES = {"groups": 1, "renorm": False, "ragged": False, "sparse": False, "time_major": False, "unroll": False}
"""Options that some layer of Keras 3 does not have, with the only value that changes nothing."""

TRAINING_ONLY = re.compile(
    r"(.*_)?(initializer|regularizer|constraint)|seed|batch_input_shape|input_dim|fused|rng_type"
)

AS_GRAPH = "pass a SavedModel of it (model.export or model.save to a folder, where it was made)"
NOT_OWN = "is not keras.applications' own"
IGNORED_IN_CALLS = ("training", "mask", "name")

ACTIVATIONS = {
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softmax", "log_softmax"),
    *("softplus", "softsign", "swish", "silu", "gelu", "exponential", "mish"),
}
"""Activations that are the same function in both versions."""

HARD_SIGMOID = (
    ("Rescaling", "hard_sigmoid_slope", {"scale": 0.2, "offset": 0.5}),
    ("ReLU", "hard_sigmoid", {"max_value": 1.0}),
)
"""`hard_sigmoid` of Keras 2, clip(0.2 x + 0.5, 0, 1); that of Keras 3 is clip(x / 6 + 0.5, 0, 1)."""


def translate_configuration(configuration: Any) -> dict[str, Any]:
    """Return the Keras 3 configuration of the model that a Keras 2 one describes.

    Raises:
        LegacyError: it has a layer, an option or an operation that Keras 3 has no equal of, or is no configuration.
    """
    try:
        return _model(configuration)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, LegacyError):
            raise
        raise LegacyError(
            f"has a configuration that is no model of Keras 2 ({type(error).__name__}: {error}): save it again"
        ) from error


def _model(entry: dict[str, Any]) -> dict[str, Any]:
    kind, configuration = MODELS.get(entry["class_name"]), entry["config"]
    if kind is None:
        raise LegacyError(
            f"is of class {entry['class_name']}, which is not Keras' own: save it as a functional or Sequential model"
        )
    if isinstance(configuration, list):  # Sequential, before Keras 2.2.3
        configuration = {"name": "sequential", "layers": configuration}
    translated: dict[str, Any] = {"name": safe_name(configuration["name"])}
    if kind == "Sequential":
        translated["layers"] = _sequence(configuration)
        return {"module": "keras", "class_name": "Sequential", "config": translated, "registered_name": None}
    graph = _Graph(configuration["layers"], plain(configuration["output_layers"]))
    translated |= {
        "trainable": True,
        "layers": graph.translated(),
        "input_layers": graph.ends(configuration["input_layers"]),
        "output_layers": graph.ends(configuration["output_layers"]),
    }
    functional = {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional"}
    return functional | {"config": translated}


def _sequence(configuration: dict[str, Any]) -> list[LayerEntry]:
    """Return the layers of a Sequential model, an input layer first where the shape is known."""
    entries: list[LayerEntry] = []
    for entry in configuration["layers"]:
        entries += _layers(entry | {"name": entry["config"].get("name")} if "name" not in entry else entry)
    first: LayerEntry = configuration["layers"][0] if configuration["layers"] else {"class_name": "", "config": {}}
    shape = first["config"].get("batch_input_shape") or configuration.get("build_input_shape")
    if entries and entries[0]["class_name"] != "InputLayer" and shape and first["class_name"] not in MODELS:
        entries.insert(0, layer_entry("InputLayer", "image", {"batch_shape": plain(shape), "dtype": "float32"}))
    return entries


@dataclass
class _Graph:
    """The layers of a functional model and the calls between them."""

    entries: list[LayerEntry]
    outputs: list[Any]
    last: dict[str, str] = field(default_factory=dict)
    """The layer that now ends what was one layer, where several take its place."""

    def translated(self) -> list[LayerEntry]:
        """Return the layers of Keras 3, each with its calls."""
        self.first_call = {entry["name"]: self._first_call(entry) for entry in self.entries}
        layers: list[LayerEntry] = []
        made = [(entry, self._layers(entry)) for entry in self.entries]
        for entry, parts in made:
            self.last[entry["name"]] = parts[-1]["name"]
        for entry, parts in made:
            calls = parts[0].pop("calls", None) or [_layer_call(node) for node in entry["inbound_nodes"]]
            parts[0]["inbound_nodes"] = [self._node(args, options) for args, options in calls]
            for before, part in itertools.pairwise(parts):
                steps = range(len(calls))
                part["inbound_nodes"] = [{"args": [tensor(before["name"], step, 0)], "kwargs": {}} for step in steps]
            layers += parts
        return layers

    def ends(self, references: Any) -> Any:
        """Return the references to the inputs or outputs of the model."""
        references = plain(references)
        listed = [references] if is_reference(references) else references
        found = []
        for name, call, index in listed:
            entry = next(entry for entry in self.entries if entry["name"] == name)
            # Here alone, Keras 3 too counts the calls of a nested functional model from 1.
            offset = 1 if MODELS.get(entry["class_name"]) == "Functional" else 0
            found.append([self.last[name], call - self.first_call[name] + offset, index])
        return found[0] if len(found) == 1 else found

    def _first_call(self, entry: LayerEntry) -> int:
        """Return the number of the first call: nested models count from 1, those without an input layer from 0."""
        if entry["class_name"] not in MODELS:
            return 0
        calls = [other["inbound_nodes"] for other in self.entries]
        used = [reference[1] for reference in _references([*calls, self.outputs], entry["name"])]
        return max(0, max(used, default=0) - len(entry["inbound_nodes"]) + 1)

    def _layers(self, entry: LayerEntry) -> list[LayerEntry]:
        if entry["class_name"] == "Lambda":
            return [_residual_sum(entry, {other["name"]: other for other in self.entries})]
        if entry["class_name"] in OPERATOR_LAYERS:
            return operator_layers(entry, [_call(node) for node in entry["inbound_nodes"]])
        if entry["class_name"].endswith("CustomScaleLayer"):
            inputs = [len(_call(node)[0]) for node in entry["inbound_nodes"]]
            check_residual_sum(entry["name"], _written_class(entry), inputs)
        return _layers(entry)

    def _node(self, arguments: list[Any], options: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in options.items() if value is not None and key not in IGNORED_IN_CALLS}
        kwargs = {key: self._value(value) for key, value in kept.items()}
        return {"args": [self._value(argument) for argument in arguments], "kwargs": kwargs}

    def _value(self, value: Any) -> Any:
        if is_reference(value):
            return tensor(self.last[value[0]], value[1] - self.first_call[value[0]], value[2])
        return [self._value(item) for item in value] if isinstance(value, list) else value


def _call(node: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return what a layer is called on, as references and constants, and the options of the call."""
    inputs = [node] if isinstance(node[0], str) else node
    arguments: list[Any] = []
    for given in inputs:
        arguments.append(plain(given[2]) if given[0] == "_CONSTANT_VALUE" else list(given[:3]))
    return arguments, plain(inputs[0][3]) if len(inputs[0]) > 3 else {}


def _layer_call(node: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments and options of the call of a layer, which takes several tensors as one list."""
    arguments, options = _call(node)
    return (arguments if len(arguments) == 1 else [arguments]), options


def _references(value: Any, name: str) -> list[list[Any]]:
    """Return all references to the outputs of the layer `name`."""
    found, pending = [], [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            if len(item) >= 3 and item[0] == name and isinstance(item[1], int):
                found.append(item)
            pending += item
        elif isinstance(item, dict):
            pending += item.values()
    return found


def _layers(entry: LayerEntry) -> list[LayerEntry]:
    """Return the layers of Keras 3 that take the place of one; the first has its weights and its name."""
    if entry["class_name"] in MODELS:
        return [_model(entry) | {"name": safe_name(entry["config"].get("name") or entry["name"])}]
    name, configuration = safe_name(entry["name"]), plain(entry["config"])
    if entry["class_name"] == "Lambda":
        raise _refused_lambda(entry["name"])
    if entry["class_name"] in OPERATOR_LAYERS:
        raise LegacyError(f"has an operation {entry['name']} outside a graph: {AS_GRAPH}")
    layer_class = _layer_class(entry)
    activation = _activation(configuration.get("activation"), entry["name"])
    after: list[LayerEntry] = []
    if activation == "hard_sigmoid":
        configuration["activation"] = "linear"
        after = [layer_entry(kind, f"{name}_{part}", options) for kind, part, options in HARD_SIGMOID]
    elif isinstance(activation, list):  # a layer
        configuration["activation"], after = "linear", activation
    elif activation is not None:
        configuration["activation"] = activation
    return [layer_entry(layer_class.__name__, name, _options(entry, layer_class, configuration)), *after]


def _layer_class(entry: LayerEntry) -> type:
    """Return the class of Keras 3 for a layer, or refuse it by name."""
    written = _written_class(entry)
    name = RENAMED_LAYERS.get(written, written)
    if name == "Custom>CustomScaleLayer":
        return _custom_scale_layer()
    found = getattr(keras.layers, name, None)
    if inspect.isclass(found) and issubclass(found, keras.layers.Layer):
        return found
    owner = "a layer of TensorFlow Addons" if written.startswith("Addons>") else "not Keras' own"
    raise LegacyError(
        f"has a layer {entry['name']} of class {written}, which is {owner}, and models are loaded in safe mode: use "
        f"Keras' own layers, or {AS_GRAPH}"
    )


def _written_class(entry: LayerEntry) -> str:
    """Return the name of a layer's class, as a `.h5` file has it: that of a class with a module of others is theirs."""
    name, registered = str(entry["class_name"]), str(entry.get("registered_name") or entry["class_name"])
    is_keras = str(entry.get("module", "keras")).split(".")[0] in ("keras", "tf_keras")
    if is_keras:
        return registered if registered == f"Custom>{name}" else name
    return registered if ">" in registered and name != "CustomScaleLayer" else f"{entry.get('module')}.{name}"


def _custom_scale_layer() -> type:
    module = inspect.getmodule(keras.applications.InceptionResNetV2)
    return vars(module)["CustomScaleLayer"]  # type: ignore[no-any-return]


def _options(entry: LayerEntry, layer_class: type, configuration: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a layer under their names in Keras 3; refuse one that it does not have."""
    known = set(inspect.signature(layer_class).parameters) | {"name", "trainable", "dtype"}
    options = {}
    for key, value in configuration.items():
        renamed = RENAMED_OPTIONS.get((entry["class_name"], key), key)
        if renamed in known and not (TRAINING_ONLY.fullmatch(key) and key == renamed):
            options[renamed] = _dtype(value) if key == "dtype" else _inner_layer(value)
        elif not (TRAINING_ONLY.fullmatch(key) or value is None or value == ONLY_VALUES.get(key, False)):
            raise LegacyError(
                f"has a layer {entry['name']} of class {entry['class_name']} with the option {key}={value!r}, which "
                f"Keras {keras.__version__} does not have: {AS_GRAPH}"
            )
    if layer_class is keras.layers.BatchNormalization and isinstance(options.get("axis"), list):
        options["axis"] = options["axis"][0]
    return options


def _inner_layer(value: Any) -> Any:
    """Return an option; the layer inside a wrapper such as TimeDistributed is translated too."""
    if isinstance(value, dict) and "class_name" in value and "config" in value:
        [inner, *more] = _layers(value | {"name": value["config"].get("name", value["class_name"])})
        if more:
            raise LegacyError(
                f"has a layer {inner['name']} inside another, with an activation that Keras 3 changed: {AS_GRAPH}"
            )
        return {key: inner[key] for key in ("module", "class_name", "config", "registered_name")}
    return value


def _dtype(value: Any) -> str:
    """Return the name of a dtype or of a policy, which is stored as a name or as an object."""
    return str(value["config"]["name"] if isinstance(value, dict) else value or "float32")


def _activation(value: Any, layer: str) -> Any:
    """Return the name of an activation, or the layers that do the same; refuse functions that are not Keras' own."""
    if value is None or (isinstance(value, str) and value in ACTIVATIONS | {"hard_sigmoid"}):
        return value
    name = value
    if isinstance(value, dict):
        name, module = value.get("config"), str(value.get("module") or "keras").split(".")[0]
        if isinstance(name, dict):
            return _layers({"class_name": value["class_name"], "config": name, "name": f"{layer}_activation"})
        if module in ("keras", "builtins", "tensorflow") and name in ACTIVATIONS | {"hard_sigmoid"}:
            return name
    raise LegacyError(
        f"has a layer {layer} with the activation {name}, which is not Keras' own, and models are loaded in safe mode: "
        "use one of Keras' own, or pass a SavedModel of it"
    )


# --- residual sums of keras.applications' Inception-ResNet-V2 ------------------------------------------------------


def _residual_sum(entry: LayerEntry, layers: dict[str, LayerEntry]) -> LayerEntry:
    """Return the layer for Keras' own residual sum, x + scale * branch, which TF up to 2.11 wrote as a Lambda.

    It is recognised by all around it; the code in the file is not looked at.
    """
    configuration = plain(entry["config"])
    arguments, nodes = configuration.get("arguments") or {}, entry["inbound_nodes"]
    inputs = [name for name, *_ in _call(nodes[0])[0]] if len(nodes) == 1 else []
    scale = arguments.get("scale")
    branch = layers.get(inputs[1]) if len(inputs) == 2 else None
    is_own = (
        RESIDUAL_BLOCK.fullmatch(entry["name"]) is not None
        and set(arguments) == {"scale"}
        and isinstance(scale, float | int)
        and configuration.get("function_type") == "lambda"
        and branch is not None
        and branch["class_name"] == "Conv2D"
        and branch["name"] == f"{entry['name']}_conv"
    )
    if not is_own:
        raise _refused_lambda(entry["name"])
    options = {"scale": scale, "dtype": _dtype(configuration.get("dtype"))}
    return layer_entry("CustomScaleLayer", entry["name"], options)


def _refused_lambda(name: str) -> LegacyError:
    return LegacyError(
        f"has a Lambda layer {name}, which is code in the file, and models are loaded in safe mode: build the model "
        "again with Keras' own layers in its place (keras.layers.Rescaling for arithmetic) and load its weights, or "
        "pass a SavedModel of it"
    )


def check_residual_sum(layer: str, written: str, inputs: list[int]) -> None:
    """Refuse a layer called CustomScaleLayer that cannot be Keras' own, x + scale * branch.

    Raises:
        LegacyError: it has another registered name, or is not called on two tensors.
    """
    if written != "Custom>CustomScaleLayer" or any(count != 2 for count in inputs):
        raise stand_in(layer, written, "is not called on two tensors" if written.startswith("Custom>") else "")


def stand_in(layer: str, written: str, difference: str) -> LegacyError:
    """Return the error for a home-made layer that carries the name of Keras' own residual sum."""
    return LegacyError(
        f"has a layer {layer} of class {written}, which {difference or NOT_OWN}: home-made "
        "stand-ins of that name often leave out the residual sum x + scale * branch, and then the network answers "
        "nonsense; pass the file as Keras first wrote it, which is opened without any stand-in"
    )
