"""Fold batch-normalizations into the convolutions before them: the same function with fewer layers.

A batch-normalization at inference is y = gamma * (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and
Szegedy 2015, arXiv:1502.03167, section 3.1), affine per channel, so it moves exactly into the kernel and
bias of a convolution whose output goes nowhere else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from convert.keras_models.walk import calls, flat_layers
from edge_runtime.arrays import Array

FOLDABLE = (layers.Conv2D, layers.DepthwiseConv2D)


class FoldedBatchNormalization(layers.Layer):  # type: ignore[misc]
    """Stands in the graph in place of a folded batch-normalization, and computes nothing."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return `inputs`."""
        return inputs


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """Return a model with the outputs of `model`, in which no batch-normalization follows a convolution.

    Layers keep their names, those of nested models too; batch-normalizations that cannot be folded stay.
    """
    pairs = foldable_pairs(model)
    convolutions = {id(convolution): batch_norm for convolution, batch_norm in pairs}
    folded_batch_norms = {id(batch_norm) for _, batch_norm in pairs}

    def clone(layer: Any) -> Any:
        if id(layer) in folded_batch_norms:
            return FoldedBatchNormalization(name=layer.name)
        config = layer.get_config()
        if id(layer) in convolutions:
            config["use_bias"] = True
        return type(layer).from_config(config)

    folded = keras.models.clone_model(model, clone_function=clone, recursive=True)
    for source, target in zip(flat_layers(model), flat_layers(folded), strict=True):
        if id(source) in convolutions:
            target.set_weights(folded_weights(source, convolutions[id(source)]))
        elif id(source) not in folded_batch_norms and source.weights:
            target.set_weights(source.get_weights())
            if isinstance(target, layers.Normalization):
                target.finalize_state()  # recompute the constants that it derives from its weights
    return folded


def foldable_pairs(model: keras.Model) -> list[tuple[Any, Any]]:
    """Return pairs of a convolution with a linear output and the batch-normalization that alone reads it."""
    nodes = list(_nested_calls(model))
    called = Counter(id(node.operation) for node in nodes)
    readers: dict[int, list[Any]] = defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    pairs = []
    for node in nodes:
        layer, consumers = node.operation, readers[id(node.outputs[0])]
        if (
            type(layer) in FOLDABLE
            and layer.activation is keras.activations.linear
            and layer.data_format == "channels_last"
            and called[id(layer)] == 1
            and len(consumers) == 1
            and type(consumers[0]) is layers.BatchNormalization
            and called[id(consumers[0])] == 1
            and consumers[0].axis in (-1, 3)
        ):
            pairs.append((layer, consumers[0]))
    return pairs


def _nested_calls(model: keras.Model) -> Iterator[Any]:
    """Yield the calls in a model, those in a nested one after its own; not those that a layer has in other models."""
    for node in calls(model.outputs[0]):
        yield node
        if isinstance(node.operation, keras.Model):
            yield from _nested_calls(node.operation)


def folded_weights(convolution: Any, batch_norm: Any) -> list[Array]:
    """Return kernel and bias of `convolution` with `batch_norm` folded in, computed in float64."""
    variance = np.float64(batch_norm.moving_variance)
    mean = np.float64(batch_norm.moving_mean)
    factor = 1 / np.sqrt(variance + batch_norm.epsilon)
    if batch_norm.scale:
        factor = factor * np.float64(batch_norm.gamma)
    kernel, *bias = convolution.get_weights()
    shift = (bias[0] - mean if bias else -mean) * factor
    if batch_norm.center:
        shift = shift + np.float64(batch_norm.beta)
    per_output = factor.reshape(kernel.shape[-2:]) if isinstance(convolution, layers.DepthwiseConv2D) else factor
    return [(kernel * per_output).astype(np.float32), shift.astype(np.float32)]
