"""Which function translates which layer of Keras, and which operation of `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import activations as functions

from convert.lowering.translation import activations, arithmetic, convolutions, normalizations, pools, shapes
from convert.lowering.translation.layer_call import LayerCall, Result


def _unchanged(call: LayerCall) -> Result:
    return call.results[0]


TRANSLATIONS: dict[str, Callable[[LayerCall], Result]] = {
    "Activation": activations.activation,
    "Add": arithmetic.add,
    "Average": arithmetic.average,
    "AveragePooling2D": pools.average,
    "BatchNormalization": normalizations.batch_normalization,
    "CenterCrop": shapes.center_crop,
    "Concatenate": shapes.concatenate,
    "Conv2D": convolutions.convolution,
    "Cropping2D": shapes.cropping,
    "CustomScaleLayer": arithmetic.scaled_sum,
    "Dense": convolutions.dense,
    "DepthwiseConv2D": convolutions.depthwise,
    "ELU": activations.activation_layer,
    "Flatten": shapes.reshape,
    "GlobalAveragePooling2D": pools.global_average,
    "GlobalMaxPooling2D": pools.global_maximum,
    "LayerNormalization": normalizations.layer_normalization,
    "LayerScale": normalizations.layer_scale,
    "LeakyReLU": activations.activation_layer,
    "MaxPooling2D": pools.maximum,
    "Maximum": arithmetic.maximum,
    "Minimum": arithmetic.minimum,
    "Multiply": arithmetic.multiply,
    "Normalization": normalizations.normalization,
    "PReLU": activations.activation_layer,
    "Permute": shapes.permute,
    "ReLU": activations.activation_layer,
    "Rescaling": normalizations.rescaling,
    "Reshape": shapes.reshape,
    "Resizing": shapes.resizing,
    "SeparableConv2D": convolutions.separable,
    "Softmax": activations.activation_layer,
    "Subtract": arithmetic.subtract,
    "UpSampling2D": shapes.up_sampling,
    "ZeroPadding2D": shapes.zero_padding,
}
"""Class names of Keras' own layers, and the functions that translate their calls; `calls.INACTIVE` need none."""

OPERATIONS: dict[str, Callable[[LayerCall], Result]] = {
    "Add": arithmetic.add_operation,
    "Cast": _unchanged,
    "Concatenate": shapes.concatenate,
    "Divide": arithmetic.divide_operation,
    "Elu": activations.operation(functions.elu),
    "Gelu": activations.operation(functions.gelu),
    "GetItem": shapes.get_item,
    "HardSigmoid": activations.operation(functions.hard_sigmoid),
    "HardSilu": activations.operation(functions.hard_silu),
    "LeakyRelu": activations.operation(functions.leaky_relu),
    "Maximum": arithmetic.maximum,
    "Mean": arithmetic.mean,
    "Minimum": arithmetic.minimum,
    "Multiply": arithmetic.multiply_operation,
    "Negative": arithmetic.negative,
    "Relu": activations.operation(functions.relu),
    "Relu6": activations.operation(functions.relu6),
    "Reshape": shapes.reshape,
    "Sigmoid": activations.operation(functions.sigmoid),
    "Silu": activations.operation(functions.silu),
    "Softmax": activations.operation(functions.softmax),
    "Stack": shapes.stack,
    "Subtract": arithmetic.subtract_operation,
    "Tanh": activations.operation(functions.tanh),
    "Transpose": shapes.transpose,
    "TrueDivide": arithmetic.divide_operation,
}
"""Class names of Keras' operations that are no layers, as `keras.ops` and operators between tensors make them."""


def translation_of(operation: Any, is_layer: bool) -> Callable[[LayerCall], Result] | None:
    """Return the function that translates calls of a layer or operation of Keras' own, or None."""
    return (TRANSLATIONS if is_layer else OPERATIONS).get(type(operation).__name__)
