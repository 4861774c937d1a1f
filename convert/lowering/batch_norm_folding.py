"""Batch-normalizations folded into the convolutions before them: the same function with fewer layers.

A batch-normalization at inference is y = gamma * (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and
Szegedy 2015, arXiv:1502.03167, section 3.1), affine per channel, so it moves exactly into the kernel and
bias of a convolution whose output goes nowhere else.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from edge_runtime.arrays import Array

FOLDABLE = (layers.Conv2D, layers.DepthwiseConv2D)


class FoldedBatchNormalization(layers.Layer):  # type: ignore[misc]
    """What is left in the graph of a folded batch-normalization: its call, and no arithmetic."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return inputs


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """A model with the outputs of `model` and no batch-normalization that follows a convolution.

    Args:
        model: a functional model, nested ones included; it is not changed.

    Returns:
        A functional model with the same layer names. Batch-normalizations that cannot be folded stay.
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
    for source, target in zip(_flat_layers(model), _flat_layers(folded), strict=True):
        if id(source) in convolutions:
            target.set_weights(folded_weights(source, convolutions[id(source)]))
        elif id(source) not in folded_batch_norms and source.weights:
            target.set_weights(source.get_weights())
            if isinstance(target, layers.Normalization):
                target.finalize_state()  # it computes with constants made of its weights
    return folded


def foldable_pairs(model: keras.Model) -> list[tuple[Any, Any]]:
    """Convolutions with a linear output that only one batch-normalization reads, and that one."""
    pairs = []
    for layer in _flat_layers(model):
        consumers = [node.operation for node in layer._outbound_nodes]
        if (
            type(layer) in FOLDABLE
            and layer.activation is keras.activations.linear
            and layer.data_format == "channels_last"
            and len(layer._inbound_nodes) == 1
            and len(consumers) == 1
            and type(consumers[0]) is layers.BatchNormalization
            and len(consumers[0]._inbound_nodes) == 1
            and consumers[0].axis in (-1, 3)
        ):
            pairs.append((layer, consumers[0]))
    return pairs


def _flat_layers(model: keras.Model) -> list[Any]:
    """All layers of `model`, those of nested models in place of the model they are in."""
    return [
        layer
        for child in model.layers
        for layer in (_flat_layers(child) if isinstance(child, keras.Model) else [child])
    ]


def folded_weights(convolution: Any, batch_norm: Any) -> list[Array]:
    """Kernel and bias of `convolution` with `batch_norm` inside, computed in float64."""
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
