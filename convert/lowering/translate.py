"""Translate Keras layers to TFLite operators one by one, for networks made of the kinds in `translation.table`.

TFLiteConverter takes half a minute and gigabytes for what is 240 MB of constants and three hundred operators.
Convolutional networks need no compiler: a convolution is a CONV_2D that takes in what stands around it. A model with
another kind of layer, or with an option that its translation does not know, is left to TFLiteConverter.
"""

from __future__ import annotations

import keras
from keras import layers

from convert.lowering.translation.calls import Call, FlatModel, UntranslatableError, Value, is_keras_own, require
from convert.lowering.translation.layer_call import Computed, LayerCall, Result, settled, shared
from convert.lowering.translation.table import translation_of
from convert.tflite.float_writer import FloatWriter
from convert.tflite.graph import tensor_name

__all__ = ["UntranslatableError", "translate"]


def translate(model: keras.Model) -> bytes:
    """Return a float `.tflite` that computes what `model` does.

    Args:
        model: a functional model in float32 of one image, channels last.

    Returns:
        A flatbuffer with static batch 1, signature `serving_default`, `image` -> `probabilities`. Tensors are named
        (see `convert.tflite.graph.tensor_name`) after the last layer that went into the operator which computes them.

    Raises:
        UntranslatableError: it has to be left to TFLiteConverter; the message names the first layer that is why.
    """
    flat, writer = FlatModel(model), FloatWriter()
    require(flat.image.dtype == "float32", f"an image of {flat.image.dtype}")
    image = Computed(writer.tensor(tensor_name(model.name, "image", "Input"), flat.image.shape), shape=flat.image.shape)
    results: dict[Value, Result] = {flat.image: image}
    for call in flat.calls:
        result = _translated(LayerCall(call, model.name, [results[value] for value in call.inputs], writer))
        results[call.output] = shared(result) if call.output.readers > 1 else result
    probabilities = settled(results[flat.output])
    require(probabilities.index != image.index, "no layer")
    return writer.finish(image.index, probabilities.index)


def _translated(call: LayerCall) -> Result:
    """Translate one call, and name its layer where that is not possible."""
    layer = call.layer
    try:
        translation = translation_of(layer, isinstance(layer, layers.Layer)) if is_keras_own(layer) else None
        if translation is None:
            raise UntranslatableError(type(layer).__name__)
        _require_supported(call.call)
        return translation(call)
    except UntranslatableError as error:
        raise UntranslatableError(f"layer {call.call.name}: {error}") from None


def _require_supported(call: Call) -> None:
    """Refuse a call that is not in float32 or not of images with their channels last."""
    layer = call.operation
    dtypes = {value.dtype for value in (*call.inputs, call.output)} | {getattr(layer, "compute_dtype", "float32")}
    require(dtypes == {"float32"}, f"{type(layer).__name__} in {', '.join(sorted(dtypes - {'float32'}))}")
    data_format = getattr(layer, "data_format", None) or "channels_last"
    require(data_format == "channels_last", f"{type(layer).__name__} with {data_format}")
