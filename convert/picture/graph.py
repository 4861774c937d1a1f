"""The network as a person draws it: one node for a convolution unit, a pool, a concatenation or a residual sum.

Keras counts more than eight hundred layers; a reader thinks in 242 convolution units. Batch-normalizations and
activations are therefore counted with the layer they follow, nodes are grouped into the blocks in their names
(`inception_resnet_A_1`), and blocks into stages (`inception_resnet_A`).
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
from keras import layers

from convert.keras_models.walk import calls

CLASSIFIER = "classifier"
_BLOCK_NAME = re.compile(r"(inception_resnet_[ABC]_\d+|reduction_[AB]|stem)_")
Kind = Literal["image", "convolution", "max pool", "concat", "sum", "average pool", "dropout", "dense"]
"""What a node does, in the words that a reader is shown."""
KINDS: dict[type, Kind] = {
    layers.InputLayer: "image",
    layers.Conv2D: "convolution",
    layers.MaxPooling2D: "max pool",
    layers.Concatenate: "concat",
    layers.Add: "sum",
    layers.GlobalAveragePooling2D: "average pool",
    layers.Dropout: "dropout",
    layers.Dense: "dense",
}


@dataclass(frozen=True)
class Node:
    """One operation, with the batch-normalization and activation that follow it.

    Attributes:
        name: the article's, for a convolution unit.
        layer: Keras' layer, without those that follow it.
        inputs: names of the nodes that it reads.
        shape: of the output, without the batch.
        kernel: height and width of a convolution or a pool, else (1, 1).
        macs: multiply-accumulates for one image.
    """

    name: str
    kind: Kind
    layer: Any
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    kernel: tuple[int, int]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Block:
    """The nodes of one block, every node after its inputs; a node may read from the block before."""

    name: str
    nodes: tuple[Node, ...]

    @property
    def stage(self) -> str:
        """Return `inception_resnet_A` for the block `inception_resnet_A_1`."""
        return re.sub(r"_\d+$", "", self.name)

    @property
    def is_repeated(self) -> bool:
        """Return whether its name is numbered."""
        return self.name != self.stage


def read_blocks(model: keras.Model) -> list[Block]:
    """Return the blocks of a model made by `inception_resnet_v2`, from the image to the probabilities."""
    return [Block(name, tuple(nodes)) for name, nodes in itertools.groupby(read_nodes(model), key=_block_name)]


def read_nodes(model: keras.Model) -> list[Node]:
    """Return the nodes of the model, every node after its inputs, parallel branches as the code writes them."""
    nodes: dict[str, Node] = {}
    producer: dict[int, str] = {}  # id of Keras' tensor -> name of the node that computes it
    for call in calls(model.output):
        layer, inputs = call.operation, tuple(producer[id(tensor)] for tensor in call.input_tensors)
        if isinstance(layer, (layers.BatchNormalization, layers.Activation)):
            before = nodes[inputs[0]]
            node = replace(before, parameters=before.parameters + layer.count_params())
        else:
            node = _node(layer, inputs)
        nodes[node.name] = node
        producer[id(call.outputs[0])] = node.name
    return list(nodes.values())


def _node(layer: Any, inputs: tuple[str, ...]) -> Node:
    kind, shape = KINDS[type(layer)], tuple(layer.output.shape[1:])
    kernel = getattr(layer, "kernel_size", getattr(layer, "pool_size", (1, 1)))
    has_weights = kind in ("convolution", "dense")  # each is used once for every output pixel
    macs = math.prod(layer.kernel.shape) * math.prod(shape[:-1]) if has_weights else 0
    return Node(layer.name.removesuffix("_conv"), kind, layer, inputs, shape, kernel, layer.count_params(), macs)


def _block_name(node: Node) -> str:
    if node.kind == "image":
        return "stem"
    match = _BLOCK_NAME.match(node.name)
    return match[1] if match else CLASSIFIER
