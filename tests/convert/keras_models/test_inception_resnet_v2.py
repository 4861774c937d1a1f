"""The network is the article's: shapes, sizes, names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from convert.keras_models.inception_resnet_v2 import MINIMUM_INPUT_SIZE, inception_resnet_v2, unit_names
from tests.convert.keras_models.loading import full_network


@pytest.fixture(scope="module")
def full_model() -> keras.Model:
    return full_network()


def small_model(size: int) -> keras.Model:
    return inception_resnet_v2((size, size, 3), 5, repeats=(1, 1, 1), width=0.1)


def test_default_network_has_the_published_size(full_model: keras.Model) -> None:
    convolutions = [layer for layer in full_model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert full_model.count_params() == 59_577_864
    assert len(convolutions) == len(unit_names(full_model)) == 242
    assert full_model.output.shape == (None, 1000)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("stem_4_concat", (73, 73, 160)),
        ("stem_5_concat", (71, 71, 192)),
        ("stem_6_concat", (35, 35, 384)),
        ("inception_resnet_A_10_relu", (35, 35, 384)),
        ("reduction_A_concat", (17, 17, 1152)),
        ("inception_resnet_B_20_relu", (17, 17, 1152)),
        ("reduction_B_concat", (8, 8, 2144)),
        ("inception_resnet_C_10_relu", (8, 8, 2144)),
        ("average_pool", (2144,)),
    ],
)
def test_stages_end_in_the_published_shapes(full_model: keras.Model, layer: str, shape: tuple[int, ...]) -> None:
    assert full_model.get_layer(layer).output.shape[1:] == shape


@pytest.mark.parametrize(
    ("unit", "kernel", "filters"),
    [
        ("stem_conv_bn_relu1", (3, 3), 32),
        ("stem_5_part2_conv_bn_relu2", (1, 7), 64),
        ("inception_resnet_A_1_part2_conv_bn_relu1", (1, 1), 32),
        ("inception_resnet_A_10_part3_conv_bn_relu3", (3, 3), 64),
        ("inception_resnet_A_10_conv_bn_relu", (1, 1), 384),
        ("reduction_A_part3_conv_bn_relu3", (3, 3), 384),
        ("inception_resnet_B_20_part2_conv_bn_relu2", (1, 7), 160),
        ("inception_resnet_B_20_part2_conv_bn_relu3", (7, 1), 192),
        ("inception_resnet_B_20_conv_bn_relu", (1, 1), 1152),
        ("reduction_B_part4_conv_bn_relu3", (3, 3), 320),
        ("inception_resnet_C_10_part2_conv_bn_relu2", (1, 7), 224),
        ("inception_resnet_C_10_part2_conv_bn_relu3", (7, 1), 256),
        ("inception_resnet_C_10_conv_bn_relu", (1, 1), 2144),
    ],
)
def test_units_carry_the_articles_names(
    full_model: keras.Model, unit: str, kernel: tuple[int, int], filters: int
) -> None:
    convolution = full_model.get_layer(f"{unit}_conv")
    assert (convolution.kernel_size, convolution.filters, convolution.use_bias) == (kernel, filters, True)
    assert isinstance(full_model.get_layer(f"{unit}_bn"), keras.layers.BatchNormalization)
    assert full_model.get_layer(unit).activation is keras.activations.relu


def test_units_come_in_the_order_they_are_written() -> None:
    names = unit_names(small_model(MINIMUM_INPUT_SIZE))
    assert names[:4] == [
        "stem_conv_bn_relu1",
        "stem_conv_bn_relu2",
        "stem_conv_bn_relu3",
        "stem_4_part2_conv_bn_relu1",
    ]
    assert names[11:18] == [
        "inception_resnet_A_1_part1_conv_bn_relu1",
        "inception_resnet_A_1_part2_conv_bn_relu1",
        "inception_resnet_A_1_part2_conv_bn_relu2",
        "inception_resnet_A_1_part3_conv_bn_relu1",
        "inception_resnet_A_1_part3_conv_bn_relu2",
        "inception_resnet_A_1_part3_conv_bn_relu3",
        "inception_resnet_A_1_conv_bn_relu",
    ]
    assert names[-1] == "inception_resnet_C_1_conv_bn_relu"


@pytest.mark.parametrize("size", [75, 76, 91, 107, 139])
def test_any_size_from_75_works(size: int) -> None:
    model = small_model(size)
    assert min(model.get_layer("inception_resnet_C_1_relu").output.shape[1:3]) >= 1


def test_the_smallest_image_gives_probabilities() -> None:
    image = np.random.default_rng(1).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    probabilities = small_model(75).predict_on_batch(image)
    assert probabilities.shape == (2, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(74, 74, 3), (299, 74, 3), (74, 299, 3)])
def test_a_smaller_size_is_refused_by_name(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=rf"{shape[0]}x{shape[1]} is too small.*75x75"):
        inception_resnet_v2(shape)


def test_a_network_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="0 classes"):
        inception_resnet_v2(classes=0)
