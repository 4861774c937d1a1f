"""Activations: as layers, as operations, and in the options of other layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import activations

from convert.lowering.translation.calls import require
from convert.lowering.translation.layer_call import Affine, Computed, LayerCall, Result, settled
from convert.tflite.schema import SCHEMA

Activate = Callable[[LayerCall, Computed], Result]


def activated(call: LayerCall, before: Result, activation: Any) -> Result:
    """Apply an activation to `before`, inside its operator where that is possible."""
    if activation is activations.linear:
        return before
    if isinstance(activation, keras.layers.Layer):
        require(type(activation) in LAYERS, f"activation {type(activation).__name__}")
        return LAYERS[type(activation)](call, settled(before), activation)
    name = getattr(activation, "__name__", type(activation).__name__)
    require(activation in ACTIVATIONS, f"activation {name}")
    return ACTIVATIONS[activation](call, settled(before))


def activation(call: LayerCall) -> Result:
    """Translate the layer that has an activation and nothing else."""
    return activated(call, call.results[0], call.layer.activation)


def activation_layer(call: LayerCall) -> Result:
    """Translate an activation that is a layer of its own class."""
    return LAYERS[type(call.layer)](call, call.input(), call.layer)


def operation(function: Any) -> Callable[[LayerCall], Result]:
    """Return the translation of the operation that does what an activation function does, with its default options."""

    def translated(call: LayerCall) -> Result:
        kind = type(call.layer).__name__
        for name, default in DEFAULTS.get(kind, {}).items():
            value = getattr(call.layer, name, default)
            require(value == default, f"{kind} with {name} {value}")
        return activated(call, call.results[0], function)

    return translated


def clamped(call: LayerCall, before: Computed, operator: str) -> Computed:
    """Apply RELU or RELU6."""
    if not before.can_activate:
        return call.operator(operator, operator.capitalize(), [before.index])
    before.operator.builtinOptions.fusedActivationFunction = getattr(SCHEMA.ActivationFunctionType, operator)
    return call.rename(before, operator.capitalize())


def _clamp(operator: str) -> Activate:
    return lambda call, before: clamped(call, before, operator)


def _single(operator: str, kind: str, **options: Any) -> Activate:
    """Return the translation of a function that is one operator."""
    return lambda call, before: call.operator(operator, kind, [before.index], before.shape, **options)


def _silu(call: LayerCall, before: Computed) -> Result:
    gate = call.operator("LOGISTIC", "Sigmoid", [before.index])
    return call.operator("MUL", "Silu", [before.index, gate.index])


def _hard_sigmoid(call: LayerCall, before: Computed) -> Result:
    """Compute relu6(x + 3) / 6."""
    three, sixth = Affine(add=np.array([3.0])), Affine(factor=np.array([1 / 6]))
    above = settled(call.scaled(before, three, "Add"))
    return call.scaled(clamped(call, above, "RELU6"), sixth, "HardSigmoid")


def _softmax(call: LayerCall, before: Computed) -> Result:
    require(int(np.prod(call.shape[:-1])) == 1, "softmax of every pixel")
    return call.operator("SOFTMAX", "Softmax", [before.index], beta=1.0)


ACTIVATIONS: dict[Any, Activate] = {
    activations.relu: _clamp("RELU"),
    activations.relu6: _clamp("RELU6"),
    activations.sigmoid: _single("LOGISTIC", "Sigmoid"),
    activations.tanh: _single("TANH", "Tanh"),
    activations.elu: _single("ELU", "Elu"),
    activations.gelu: _single("GELU", "Gelu", approximate=False),
    activations.leaky_relu: _single("LEAKY_RELU", "LeakyRelu", alpha=0.2),
    activations.hard_silu: _single("HARD_SWISH", "HardSwish"),
    activations.silu: _silu,
    activations.hard_sigmoid: _hard_sigmoid,
    activations.softmax: _softmax,
}
"""Keras' activation functions with their default options, and what becomes of them."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "Elu": {"alpha": 1.0},
    "Gelu": {"approximate": False},
    "LeakyRelu": {"negative_slope": 0.2},
    "Softmax": {"axis": -1},
}
"""Options of operations that have them, as `ACTIVATIONS` takes them."""


def _relu(call: LayerCall, before: Computed, layer: Any) -> Result:
    slope, maximum = layer.negative_slope, layer.max_value
    require(not layer.threshold, f"ReLU with threshold {layer.threshold}")
    require(not slope or maximum is None, f"ReLU with slope {slope} and maximum {maximum}")
    if slope:
        return call.operator("LEAKY_RELU", "LeakyRelu", [before.index], alpha=float(slope))
    if maximum is None or maximum == 6:
        return clamped(call, before, "RELU" if maximum is None else "RELU6")
    positive = clamped(call, before, "RELU")
    return call.operator(
        "MINIMUM", "Minimum", [positive.index, call.constant("maximum", np.array([maximum], np.float32))]
    )


def _leaky_relu(call: LayerCall, before: Computed, layer: Any) -> Result:
    return call.operator("LEAKY_RELU", "LeakyRelu", [before.index], alpha=float(layer.negative_slope))


def _prelu(call: LayerCall, before: Computed, layer: Any) -> Result:
    return call.operator("PRELU", "Prelu", [before.index, call.constant("alpha", np.asarray(layer.alpha))])


def _elu(call: LayerCall, before: Computed, layer: Any) -> Result:
    require(layer.alpha == 1, f"ELU with alpha {layer.alpha}")
    return call.operator("ELU", "Elu", [before.index])


def _softmax_layer(call: LayerCall, before: Computed, layer: Any) -> Result:
    require(layer.axis in (-1, len(call.shape) - 1), f"Softmax over axis {layer.axis}")
    require(len(call.results) == 1, "Softmax with a mask")
    return _softmax(call, before)


LAYERS: dict[Any, Callable[[LayerCall, Computed, Any], Result]] = {
    keras.layers.ReLU: _relu,
    keras.layers.LeakyReLU: _leaky_relu,
    keras.layers.PReLU: _prelu,
    keras.layers.ELU: _elu,
    keras.layers.Softmax: _softmax_layer,
}
"""Activations that are layers of their own class; another layer can have one of them as its activation."""
