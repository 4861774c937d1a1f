"""A layer's name can be read back from what its tensors are called, by us and by TFLiteConverter."""

from __future__ import annotations

import pytest

from convert.tflite.tensor_names import layer_name, tensor_name


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("inception_1/stem_conv1_1/Relu;inception_1/stem_conv1_1/BiasAdd", "stem_conv1_1"),
        ("model/block_1/conv/BiasAdd", "block_1/conv"),
        ("dense_1/MatMul", "dense_1/MatMul"),
        ("StatefulPartitionedCall_1:0", "StatefulPartitionedCall_1:0"),
    ],
)
def test_a_layer_is_called_as_in_keras(tensor: str, name: str) -> None:
    assert layer_name(tensor) == name


@pytest.mark.parametrize("layer", ["stem_conv1", "block_1/conv"])
def test_what_we_name_is_read_back(layer: str) -> None:
    assert tensor_name("network", layer, "Relu") == f"network/{layer}/Relu"
    assert layer_name(tensor_name("network", layer, "Relu")) == layer
