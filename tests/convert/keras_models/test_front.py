"""What stands in front of a network is taken off: Keras gives the same answers with it and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import applications, layers
from PIL import Image

from convert.images.feeding import FrontResize, feeding
from convert.keras_models.front import rules, stripping
from convert.keras_models.front.stripping import Front, strip
from convert.lowering.batch_norm_folding import fold_batch_norms, foldable_pairs
from edge_runtime.preprocess import load_pixels, normalize
from tests.convert.keras_models.fronts import HEIGHT, WIDTH, BuildsFront, augmentation, drawn, network, pixels, transfer

IDENTITY = ((1.0,) * 3, (0.0,) * 3)
TF = ((1 / 127.5,) * 3, (-1.0,) * 3)
TORCH_STD = np.array([0.229, 0.224, 0.225])
TORCH = (1 / 255 / TORCH_STD, -np.array([0.485, 0.456, 0.406]) / TORCH_STD)
UNIT = ((1 / 255,) * 3, (0.0,) * 3)
CAFFE = ((1.0,) * 3, (-103.939, -116.779, -123.68))


def same_answers(model: Any, stripped: Front) -> None:
    """Check that what is left answers for what the front makes of pixels as the whole does for the pixels."""
    images = pixels(model.input_shape[1:])
    scaling = stripped.scaling
    made = (images[..., list(scaling.source)] * np.float64(scaling.scale) + scaling.shift).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    assert np.allclose(stripped.model(made, training=False), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.allclose(scaling.undone(made), images, atol=1e-4)


def loaded(model: Any, folder: Path) -> Any:
    """The model as it comes out of a file: constants in its operations have other types then."""
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def normalization(image: Any) -> Any:
    return layers.Normalization(mean=[0.485, 0.456, 0.406], variance=TORCH_STD**2)(layers.Rescaling(1 / 255)(image))


def adapted(image: Any) -> Any:
    layer = layers.Normalization()
    layer.adapt(pixels((HEIGHT, WIDTH, 3)) * np.float32([1.0, 0.5, 0.25]))
    return layer(image)


FRONTS: dict[str, tuple[BuildsFront, Any]] = {
    "nothing": (lambda x: x, IDENTITY),
    "augmentation": (lambda x: layers.GaussianNoise(0.1)(augmentation()(x)), IDENTITY),
    "rescaling": (lambda x: layers.Rescaling(1 / 127.5, offset=-1)(augmentation()(x)), TF),
    "rescaling per channel": (
        layers.Rescaling([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]),
        ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    ),
    "tf": (applications.mobilenet_v2.preprocess_input, TF),
    "caffe": (applications.resnet50.preprocess_input, CAFFE),
    "torch": (applications.densenet.preprocess_input, TORCH),
    "normalization": (normalization, TORCH),
    "cast": (lambda x: keras.ops.cast(x, "float32") / 255, UNIT),
    "constant first": (lambda x: 2 * (x / 255) - 1, TF),
    "arrays": (
        lambda x: (x - np.array([1.0, 2.0, 3.0])) / np.array([2.0, 4.0, 5.0]),
        ((0.5, 0.25, 0.2), (-0.5, -0.5, -0.6)),
    ),
    "twice negative": (lambda x: -(1 - x / 127.5), TF),
    "flip": (lambda x: keras.ops.flip(x, -1) + np.array([-103.939, -116.779, -123.68]), CAFFE),
    "slice": (lambda x: x[..., ::-1] + np.array([-103.939, -116.779, -123.68]), CAFFE),
    "crop": (lambda x: layers.Rescaling(1 / 255)(layers.CenterCrop(20, 24)(x)), UNIT),
    "crop behind": (lambda x: layers.Cropping2D(3)(layers.Rescaling(1 / 255)(x)), UNIT),
    "random crop of all": (lambda x: layers.Rescaling(1 / 255)(layers.RandomCrop(HEIGHT, WIDTH)(x)), UNIT),
    "smaller": (lambda x: layers.Resizing(20, 24)(layers.Rescaling(1 / 255)(x)), UNIT),
}


@pytest.mark.parametrize("name", FRONTS)
def test_a_front_is_an_affine_map_and_the_rest_answers_the_same(name: str, tmp_path: Path) -> None:
    build, (scale, shift) = FRONTS[name]
    model = loaded(network(build), tmp_path)
    stripped = strip(model)
    same_answers(model, stripped)
    assert np.allclose(stripped.scaling.scale, scale, rtol=1e-6)
    assert np.allclose(stripped.scaling.shift, shift, rtol=1e-6)
    assert stripped.scaling.source == ((2, 1, 0) if shift is CAFFE[1] else (0, 1, 2))
    left = [type(layer).__name__ for layer in stripped.model._flatten_layers()]
    assert not {"Rescaling", "Normalization", "RandomFlip", "GaussianNoise"} & set(left)


def test_an_adapted_normalization_is_folded(tmp_path: Path) -> None:
    model = loaded(network(adapted), tmp_path)
    stripped = strip(model)
    same_answers(model, stripped)
    images = pixels((HEIGHT, WIDTH, 3)) * np.float32([1.0, 0.5, 0.25])
    assert np.allclose(1 / np.array(stripped.scaling.scale), images.std(axis=(0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(rules.INACTIVE) - {"Equalization", "Solarization"}))
def test_layers_that_are_left_out_do_nothing_when_they_do_not_train(name: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "GaussianNoise": {"stddev": 1.0},
        "RandomColorJitter": {"value_range": (0, 255)},
        "RandomPosterization": {"factor": 4},
        "RandomShear": {"x_factor": 0.3},
        "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3},
        "RandomZoom": {"height_factor": 0.3},
        **{name: {"rate": 0.5} for name in ("AlphaDropout", "Dropout", "GaussianDropout", "SpatialDropout2D")},
        **{
            f"Random{kind}": {"factor": 0.5}
            for kind in ("Brightness", "ColorDegeneration", "Contrast", "Hue", "Rotation", "Saturation", "Sharpness")
        },
    }
    images = pixels((8, 9, 3))
    assert np.array_equal(getattr(layers, name)(**options.get(name, {}))(images, training=False), images)


def test_kept_layers_stand_behind_the_new_input_and_are_named() -> None:
    stripped = strip(network(FRONTS["crop"][0]))
    assert stripped.model.input_shape == (None, HEIGHT, WIDTH, 3)
    assert any(layer.name.startswith("center_crop") for layer in stripped.model.layers)
    assert stripped.recognized == (
        "folded: Rescaling(1/255) into the card's mean and std",
        "kept: CenterCrop(20, 24), an operator of its own on 32x40x3 values",
    )


def test_each_layer_has_a_line() -> None:
    assert strip(network(FRONTS["caffe"][0])).recognized == (
        "folded: Add(-103.939 -116.779 -123.68) into the card's mean and std",
        "folded: channels reversed, into the card's channel order",
    )
    assert strip(network(FRONTS["rescaling"][0])).recognized == (
        "folded: Rescaling(1/127.5, -1) into the card's mean and std",
        "left out: RandomFlip, RandomRotation, RandomZoom, which act in training only",
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda x: 1 - x / 255,  # a card's std is positive
        lambda x: layers.Rescaling(1 / 255)(layers.ZeroPadding2D(1)(x)),  # zeros are not what they were
        lambda x: layers.Concatenate()([layers.AveragePooling2D(1)(x / 255), layers.AveragePooling2D(1)(x - 1)]),
        lambda x: (x / 255) * keras.ops.cast(x[..., :1] > 9, "float32"),
        lambda x: x[:, ::-1] / 255,  # upside down
        lambda x: layers.RandomCrop(20, 24)(x) / 255,  # Keras passes the whole picture, whatever the shape says
        lambda x: keras.ops.cast(keras.ops.cast(x / 255, "int32"), "float32"),
        lambda x: keras.ops.concatenate([x[..., 1:], x[..., :1]], axis=-1),  # GBR
        lambda x: layers.Resizing(24, 24, pad_to_aspect_ratio=True, fill_value=9.0)(x) / 255,
    ],
)
def test_what_no_card_can_say_stays(build: BuildsFront, tmp_path: Path) -> None:
    model = loaded(network(build), tmp_path)
    stripped = strip(model)
    same_answers(model, stripped)
    assert stripped.scaling.scale[0] in (1.0, 1 / 255)
    assert stripped.scaling.shift == (0.0, 0.0, 0.0)
    assert stripped.scaling.source == (0, 1, 2)


def test_scaling_that_stays_is_named() -> None:
    assert strip(network(lambda x: 1 - x / 255)).recognized == (
        "folded: Divide(255) into the card's mean and std",
        "kept: Subtract(1), which mean and std of a card cannot say here",
    )


@pytest.mark.parametrize(
    "repeat",
    [
        lambda x: layers.Concatenate()([x, x, x]),
        lambda x: keras.ops.repeat(x, 3, axis=-1),
        lambda x: keras.ops.tile(x, (1, 1, 1, 3)),
        lambda x: x + np.zeros(3, np.float32),
    ],
)
def test_a_repeated_grey_channel_stays_one(repeat: BuildsFront, tmp_path: Path) -> None:
    model = loaded(network(lambda x: applications.mobilenet.preprocess_input(repeat(x)), (HEIGHT, WIDTH, 1)), tmp_path)
    stripped = strip(model)
    same_answers(model, stripped)
    assert stripped.model.input_shape == (None, HEIGHT, WIDTH, 1)
    assert stripped.scaling.scale == pytest.approx((1 / 127.5,))
    assert stripped.recognized[-1] == "one channel repeated 3 times, for a network of colours"


def test_images_of_any_size_are_resized_by_the_card() -> None:
    def build(x: Any) -> Any:
        return layers.Rescaling(1 / 255)(layers.Resizing(24, 28, interpolation="bicubic")(augmentation()(x)))

    assert stripping.resized_to(network(build, (None, None, 3))) == (24, 28)
    assert stripping.resized_to(network(FRONTS["rescaling"][0], (None, None, 3))) is None
    fixed = network(build, (24, 28, 3))
    stripped = strip(fixed)
    same_answers(fixed, stripped)
    assert stripped.scaling.resize == FrontResize("tf-bicubic")
    assert not any("resizing" in layer.name for layer in stripped.model._flatten_layers())


@pytest.mark.parametrize(
    ("options", "fit", "filtered"),
    [
        ({"crop_to_aspect_ratio": True}, "crop", "tf-bilinear"),
        ({"pad_to_aspect_ratio": True, "fill_value": 0.25}, "pad", "tf-bilinear"),
        ({"antialias": True, "interpolation": "bicubic"}, "stretch", "bicubic"),
        ({"interpolation": "nearest"}, "stretch", "nearest"),
    ],
)
def test_pictures_are_fitted_as_the_front_fits_them(options: dict[str, Any], fit: str, filtered: str) -> None:
    """The whole model, on a picture of any shape, against its rest, on what the card makes of that picture."""

    def build(x: Any) -> Any:
        return layers.Resizing(24, 28, **options)(layers.Rescaling(1 / 127.5, -1)(x))

    whole = network(build, (None, None, 3))
    stripped = strip(network(build, (24, 28, 3)))
    spec = feeding(stripped.scaling, None, Path("mine.keras"), (24, 28, 3))
    assert (spec.fit, spec.resize) == (fit, filtered)
    assert spec.pad_color == ((159,) if fit == "pad" else (0,))  # 127.5 * (0.25 + 1) = 159.4
    coarse = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((90, 60), Image.Resampling.BICUBIC))
    front = keras.Model(whole.inputs[0], next(each for each in whole.layers if "resizing" in each.name).output)
    expected = np.asarray(front(picture[np.newaxis].astype(np.float32)))[0].clip(
        -1, 1
    )  # beyond it, there are no pixels
    found = normalize(load_pixels(picture, spec), spec)
    assert np.abs(found - expected).max() <= 1.5 / 127.5  # rounded to pixels: antialiased, across and then down


def mobilenet() -> Any:
    return applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35)


@pytest.mark.parametrize("before", [applications.mobilenet_v2.preprocess_input, layers.Rescaling(1 / 127.5, -1)])
def test_the_tutorials_transfer_learning_begins_with_its_convolution(before: BuildsFront, tmp_path: Path) -> None:
    model = loaded(transfer(mobilenet(), before), tmp_path)
    stripped = strip(model)
    same_answers(model, stripped)
    assert stripped.scaling.scale == pytest.approx(TF[0])
    assert [type(layer).__name__ for layer in stripped.model.layers] == [
        *("InputLayer", "Functional", "GlobalAveragePooling2D", "Dropout", "Dense")
    ]


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (applications.EfficientNetV2B0, TORCH),
        (applications.MobileNetV3Small, TF),
    ],
)
def test_bases_that_scale_inside_are_entered(base: Any, expected: Any) -> None:
    model = transfer(base(input_shape=(32, 32, 3), include_top=False, weights=None), lambda x: x)
    stripped = strip(model)
    same_answers(model, stripped)
    assert np.allclose(stripped.scaling.scale, expected[0])
    assert np.allclose(stripped.scaling.shift, expected[1])


def test_calls_of_the_whole_do_not_disturb_folding_in_the_rest() -> None:
    def build(x: Any) -> Any:
        return layers.BatchNormalization()(layers.Conv2D(3, 1)(layers.Rescaling(1 / 255)(x)))

    stripped = strip(network(build))
    assert len(foldable_pairs(stripped.model)) == 1
    images = pixels((HEIGHT, WIDTH, 3)) / 255
    folded = fold_batch_norms(stripped.model)
    assert np.allclose(folded(images), stripped.model(images, training=False), atol=1e-5)


def test_a_network_without_a_front_is_left_as_it_is() -> None:
    model = network(lambda x: x)
    assert strip(model).model is model
    assert strip(model).recognized == ()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rescaling"), st.floats(0.001, 4), st.floats(-200, 200)),
        st.tuples(st.just("operation"), st.floats(0.1, 300), st.floats(-2, 2)),
        st.tuples(st.just("flip"), st.just(0.0), st.just(0.0)),
        st.tuples(st.just("normalization"), st.floats(0.05, 300), st.floats(-200, 200)),
    ),
    max_size=4,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(STEPS)
def test_folding_changes_no_answer_by_more_than_rounding(steps: list[tuple[str, float, float]]) -> None:
    def build(x: Any) -> Any:
        for kind, one, other in steps:
            spread = np.array([1.0, 1.25, 0.8])
            match kind:
                case "rescaling":
                    x = layers.Rescaling((one * spread).tolist(), other)(x)
                case "operation":
                    x = (x - other) / (one * spread).astype(np.float32)
                case "flip":
                    x = x[..., ::-1]
                case "normalization":
                    x = layers.Normalization(mean=(other * spread).tolist(), variance=((one * spread) ** 2).tolist())(x)
        return x

    image = keras.Input((4, 5, 3))
    convolution = layers.Conv2D(4, 3)
    whole = drawn(keras.Model(image, convolution(build(image))))
    model = keras.Model(whole.inputs, layers.Flatten()(whole.outputs[0]))
    stripped = strip(model)
    images, scaling = pixels((4, 5, 3)), stripped.scaling
    made = images[..., list(scaling.source)] * np.float64(scaling.scale) + scaling.shift
    answers = np.asarray(stripped.model(made.astype(np.float32)))
    # In single precision, what the graph itself rounds on the way: as much as its largest intermediate value allows.
    largest = 255.0
    for kind, one, other in steps:
        factor = one if kind in ("rescaling", "flip") else 1 / one
        largest = max(largest * 1.25, 255.0) * max(factor * 1.25, 1.0) + abs(other) * 1.25
    assert np.allclose(answers, model(images), rtol=1e-4, atol=2e-6 * largest * 30)
