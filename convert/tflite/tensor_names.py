"""How tensors are named after the layers of a network: MODEL/LAYER/KIND, as TensorFlow does it."""

from __future__ import annotations


def tensor_name(model: str, layer: str, kind: str) -> str:
    """Name a constant, or the output of an operator after the last layer in it: "network/conv_1/Relu"."""
    return f"{model}/{layer}/{kind}"


def layer_name(tensor: str) -> str:
    """Return the layer in the name of a tensor, to show to a user; names of another form stay as they are.

    TFLiteConverter joins the names of fused layers: "model_1/block_1/conv_1/Relu;model_1/..." is "block_1/conv_1".
    """
    first = tensor.split(";", maxsplit=1)[0]
    parts = first.split("/")
    return "/".join(parts[1:-1]) if len(parts) > 2 else first
