"""The network as a person draws it: one node a convolution unit, pool, concatenation or residual sum.

Keras counts more than eight hundred layers; a reader thinks in 242 convolution units. Batch-normalizations and
activations are therefore counted with the layer they follow, and nodes are grouped into the blocks
their names tell (`inception_resnet_A_1`), blocks into stages (`inception_resnet_A`).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import keras
from keras import layers

CLASSIFIER = "classifier"
_BLOCK_NAME = re.compile(r"(inception_resnet_[ABC]_\d+|reduction_[AB]|stem)_")


class Kind(StrEnum):
    """What a node does; the value is what a reader is shown."""

    IMAGE = "image"
    CONVOLUTION = "convolution"
    MAX_POOL = "max pool"
    CONCATENATION = "concat"
    SUM = "sum"
    AVERAGE_POOL = "average pool"
    DROPOUT = "dropout"
    DENSE = "dense"


@dataclass(frozen=True)
class Node:
    """One operation with what follows it in place; a convolution unit carries the article's name.

    `shape` is the output's, without the batch, and `channels_in` the channels of the first input.
    `kernel`, `strides` and `padding` are those of convolutions and pools, else (1, 1), 1 and "same".
    `macs` are the multiply-accumulates for one image.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    channels_in: int
    shape: tuple[int, ...]
    kernel: tuple[int, int]
    strides: int
    padding: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class Block:
    """The nodes of one block, every node after its inputs; a node may read from the block before."""

    name: str
    nodes: tuple[Node, ...]

    @property
    def stage(self) -> str:
        """`inception_resnet_A` for the block `inception_resnet_A_1`."""
        return re.sub(r"_\d+$", "", self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what the block hands on, without the batch."""
        return self.nodes[-1].shape

    @property
    def parameters(self) -> int:
        return sum(node.parameters for node in self.nodes)

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.nodes)


def read_blocks(model: keras.Model) -> list[Block]:
    """Blocks of a model made by `convert.keras_models.inception_resnet_v2`, from the image to the probabilities."""
    grouped = itertools.groupby(read_nodes(model), key=_block_name)
    return [Block(name, tuple(nodes)) for name, nodes in grouped]


def read_nodes(model: keras.Model) -> list[Node]:
    """Nodes of the model, every node after its inputs, parallel branches in the order they were written."""
    nodes: dict[str, Node] = {}
    producer: dict[str, str] = {}  # layer name -> name of the node it is part of
    for layer in layers_in_order(model):
        inputs = tuple(producer[source.name] for source in input_layers(layer))
        if isinstance(layer, (layers.BatchNormalization, layers.Activation)):
            node = nodes[inputs[0]]
            node = replace(node, parameters=node.parameters + layer.count_params())
        else:
            node = _node(layer, inputs, channels_in=nodes[inputs[0]].shape[-1] if inputs else 0)
        nodes[node.name] = node
        producer[layer.name] = node.name
    return list(nodes.values())


def layers_in_order(model: keras.Model) -> Iterator[keras.Layer]:
    """Every layer after its inputs, the inputs of a join in the order they were given.

    `model.layers` sorts by depth, which mixes parallel branches.
    """
    seen: set[str] = set()
    pending = [(model.output._keras_history.operation, False)]
    while pending:
        layer, inputs_visited = pending.pop()
        if inputs_visited:
            yield layer
        elif layer.name not in seen:
            seen.add(layer.name)
            pending.append((layer, True))
            pending += [(source, False) for source in reversed(input_layers(layer))]


def input_layers(layer: Any) -> list[Any]:
    """The layers whose outputs `layer` reads, in order."""
    if isinstance(layer, layers.InputLayer):
        return []
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation for tensor in tensors]


_KINDS = {
    layers.InputLayer: Kind.IMAGE,
    layers.Conv2D: Kind.CONVOLUTION,
    layers.MaxPooling2D: Kind.MAX_POOL,
    layers.Concatenate: Kind.CONCATENATION,
    layers.Add: Kind.SUM,
    layers.GlobalAveragePooling2D: Kind.AVERAGE_POOL,
    layers.Dropout: Kind.DROPOUT,
    layers.Dense: Kind.DENSE,
}


def _node(layer: Any, inputs: tuple[str, ...], channels_in: int) -> Node:
    kind = _KINDS[type(layer)]
    shape = tuple(layer.output.shape[1:])
    kernel: tuple[int, int] = (1, 1)
    if kind is Kind.CONVOLUTION:
        kernel = layer.kernel_size
    elif kind is Kind.MAX_POOL:
        kernel = layer.pool_size
    macs = 0
    if kind in (Kind.CONVOLUTION, Kind.DENSE):  # each kernel weight is used once for every output pixel
        macs = math.prod(layer.kernel.shape) * math.prod(shape[:-1])
    return Node(
        name=layer.name.removesuffix("_conv"),
        kind=kind,
        inputs=inputs,
        channels_in=channels_in,
        shape=shape,
        kernel=kernel,
        strides=getattr(layer, "strides", (1, 1))[0],
        padding=getattr(layer, "padding", "same"),
        parameters=layer.count_params(),
        macs=macs,
    )


def _block_name(node: Node) -> str:
    if node.kind is Kind.IMAGE:
        return "stem"
    match = _BLOCK_NAME.match(node.name)
    return match[1] if match else CLASSIFIER
