"""Configurations of Keras 2: what they become, and what is refused by name."""

from __future__ import annotations

import base64
import marshal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from convert.keras_models.configurations import check_configuration
from convert.keras_models.legacy.configuration import translate_configuration
from convert.keras_models.legacy.operators import OPERATORS
from convert.keras_models.legacy.values import LegacyError

BACKWARDS = {"start": None, "stop": None, "step": -1}
NUMPY_NUMBER = {"class_name": "__numpy__", "config": {"value": 0.1, "dtype": "float32"}}
POLICY = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "relu", "kernel_initializer": {}}}
IMAGE = np.random.default_rng(1).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)


def entry(class_name: str, name: str, nodes: list[Any], **options: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **options}, "name": name, "inbound_nodes": nodes}


def on(*names: str) -> list[Any]:
    """One call on the first outputs of layers."""
    return [[[name, 0, 0, {}] for name in names]]


def functional(*layers: dict[str, Any], outputs: str | None = None) -> dict[str, Any]:
    """A model that begins in `image` and ends in its last layer."""
    image = entry(
        "InputLayer", "image", [], batch_input_shape=[None, 4, 4, 3], dtype="float32", sparse=False, ragged=False
    )
    end = [outputs or layers[-1]["name"], 0, 0]
    config = {"name": "m", "layers": [image, *layers], "input_layers": [["image", 0, 0]], "output_layers": [end]}
    return {"class_name": "Functional", "config": config}


def model_of(configuration: dict[str, Any]) -> keras.Model:
    translated = translate_configuration(configuration)
    check_configuration(translated, Path("mine.h5"))
    return keras.saving.deserialize_keras_object(translated, safe_mode=True)


def answers(configuration: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(model_of(configuration)(IMAGE, training=False))


def refusal(*layers: dict[str, Any]) -> str:
    with pytest.raises(LegacyError) as caught:
        translate_configuration(functional(*layers))
    message = str(caught.value)
    assert "\n" not in message
    return message


def operator(function: str, *, first: Any = "image", **arguments: Any) -> dict[str, Any]:
    node = ["_CONSTANT_VALUE", -1, first, arguments] if isinstance(first, float) else [first, 0, 0, arguments]
    return entry("TFOpLambda", f"tf.{function}", [node], function=function)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (operator("math.truediv", y=127.5, name=None), IMAGE / 127.5),
        (operator("math.subtract", y=[1.0, 2.0, 3.0]), IMAGE - [1, 2, 3]),
        (operator("math.subtract", first=1.0, y=["image", 0, 0]), 1 - IMAGE),
        (operator("__operators__.add", y=[[[0.5, 1.0, 2.0]]]), IMAGE + np.array([0.5, 1, 2])),
        (operator("math.add", first=2.0, y=["image", 0, 0]), 2 + IMAGE),
        (operator("math.multiply", y=["image", 0, 0]), IMAGE * IMAGE),
        (operator("math.truediv", y=["image", 0, 0]), np.ones_like(IMAGE)),
        (operator("math.subtract", y=["image", 0, 0]), np.zeros_like(IMAGE)),
        (operator("nn.bias_add", bias=[-103.9, -116.8, -123.7], data_format="NHWC"), IMAGE - [103.9, 116.8, 123.7]),
        (operator("math.negative"), -IMAGE),
        (operator("cast", dtype="float32"), IMAGE),
        (operator("clip_by_value", clip_value_min=0, clip_value_max=6.0), np.clip(IMAGE, 0, 6)),
        (operator("nn.relu6"), np.clip(IMAGE, 0, 6)),
        (operator("reshape", shape=[-1, 48]), IMAGE.reshape(2, 48)),
        (operator("math.reduce_mean", axis=[1, 2], keepdims=True), IMAGE.mean(axis=(1, 2), keepdims=True)),
        (operator("math.reduce_max", axis=[1, 2]), IMAGE.max(axis=(1, 2))),
        (operator("math.tanh"), np.tanh(IMAGE)),
        (operator("image.resize", size=[2, 2], method="nearest"), IMAGE[:, 1::2, 1::2]),
        (
            operator(
                "__operators__.getitem",
                slice_spec=[{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}],
            ),
            IMAGE[..., ::-1],
        ),
        (
            entry(
                "TFOpLambda",
                "tf.concat",
                [[["image", 0, 0, {"axis": -1}], ["image", 0, 0, {"axis": -1}]]],
                function="concat",
            ),
            np.concatenate([IMAGE, IMAGE], -1),
        ),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_operations_between_layers(layer: dict[str, Any], expected: Any) -> None:
    np.testing.assert_allclose(answers(functional(layer)), expected, rtol=1e-5, atol=1e-5)


def test_every_operation_of_the_table_is_named_as_tensorflow_does() -> None:
    import tensorflow as tf

    for name in set(OPERATORS) - {"__operators__.add", "__operators__.getitem", "realdiv", "nn.swish"}:
        found: Any = tf
        for part in name.split("."):
            found = getattr(found, part, None)
        assert callable(found), name


@pytest.mark.parametrize(
    "layer",
    [
        operator("math.truediv", first=1.0, y=["image", 0, 0]),
        operator("math.cumsum", axis=1),
        operator("reshape", shape=[2, -1]),
        operator("math.reduce_mean", axis=[3]),
        operator("image.resize", size=[2, 2], method="lanczos3"),
        operator("image.resize", size=[2, 2], antialias=True),
        operator("nn.softmax", beta=2.0),
    ],
    ids=lambda layer: layer["name"],
)
def test_an_operation_without_an_equal_is_refused_by_name(layer: dict[str, Any]) -> None:
    assert refusal(layer).startswith(f"has an operation {layer['name']} (tf.{layer['config']['function']}) between")


# --- residual sums ---------------------------------------------------------------------------------------------------


def conv(name: str, before: str = "image") -> dict[str, Any]:
    return entry("Conv2D", name, on(before), filters=3, kernel_size=[1, 1])


def residual_lambda(name: str = "block35_1", code: str = "not even code", **changes: Any) -> dict[str, Any]:
    options = {"function": [code, None, None], "function_type": "lambda", "arguments": {"scale": 0.17}} | changes
    return entry("Lambda", name, on("image", "block35_1_conv"), **options)


def test_the_lambda_of_keras_own_residual_sum_is_the_layer_and_its_code_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = compile(f"open({str(ran)!r}, 'w')", "evil", "exec")
    written = base64.b64encode(marshal.dumps(code)).decode()
    model = model_of(functional(conv("block35_1_conv"), residual_lambda(code=written)))
    branch = np.asarray(model.get_layer("block35_1_conv")(IMAGE))
    np.testing.assert_allclose(np.asarray(model(IMAGE)), IMAGE + 0.17 * branch, rtol=1e-5, atol=1e-4)
    assert type(model.get_layer("block35_1")).__name__ == "CustomScaleLayer"
    assert not ran.exists()


@pytest.mark.parametrize(
    "layer",
    [
        residual_lambda("my_lambda"),
        residual_lambda("block35_2"),
        residual_lambda(arguments={}),
        residual_lambda(arguments={"scale": 0.17, "shift": 1}),
        residual_lambda(arguments={"scale": "0.17"}),
        residual_lambda(function_type="function"),
        entry("Lambda", "block35_1", on("block35_1_conv"), function_type="lambda", arguments={"scale": 0.17}),
        entry("Lambda", "block35_1", on("image", "image"), function_type="lambda", arguments={"scale": 0.17}),
    ],
)
def test_any_other_lambda_is_refused_by_name(layer: dict[str, Any]) -> None:
    message = refusal(conv("block35_1_conv"), layer)
    assert message.startswith(f"has a Lambda layer {layer['name']}, which is code in the file")
    assert "pass a SavedModel of it" in message


def test_a_lambda_in_a_sequential_model_is_refused_by_name() -> None:
    layers = [entry("Lambda", "block35_1", [], arguments={"scale": 1}, function_type="lambda")]
    with pytest.raises(LegacyError, match="has a Lambda layer block35_1, which is code"):
        translate_configuration({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})


def test_keras_own_scale_layer_under_the_name_it_registered() -> None:
    layer = entry("Custom>CustomScaleLayer", "custom_scale_layer", on("image", "branch"), scale=0.1, dtype="float32")
    model = model_of(functional(conv("branch"), layer))
    branch = np.asarray(model.get_layer("branch")(IMAGE))
    np.testing.assert_allclose(np.asarray(model(IMAGE)), IMAGE + 0.1 * branch, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("written", "inputs", "reason"),
    [
        ("MyPackage>CustomScaleLayer", ("image", "branch"), "which is not keras.applications' own"),
        ("CustomScaleLayer", ("image", "branch"), "which is not keras.applications' own"),
        ("Custom>CustomScaleLayer", ("branch",), "which is not called on two tensors"),
    ],
)
def test_stand_ins_for_the_scale_layer_are_refused(written: str, inputs: tuple[str, ...], reason: str) -> None:
    message = refusal(conv("branch"), entry(written, "scale_3", on(*inputs), scale=0.1))
    assert message.startswith(f"has a layer scale_3 of class {written}, {reason}: home-made stand-ins")
    assert "leave out the residual sum" in message


@pytest.mark.parametrize("module", ["mine.layers", "__main__", None])
def test_stand_ins_in_archives_carry_their_module(module: str | None) -> None:
    layer = entry("CustomScaleLayer", "scale_3", on("image", "branch"), scale=0.1)
    layer |= {"module": module, "registered_name": "Custom>CustomScaleLayer"}
    assert "has a layer scale_3 of class " in refusal(conv("branch"), layer)
    own = layer | {"module": "keras.src.applications.inception_resnet_v2"}
    assert answers(functional(conv("branch"), own)).shape == IMAGE.shape


def test_a_layer_of_others_that_is_called_as_one_of_keras_is_refused() -> None:
    layer = entry("ReLU", "relu", on("image")) | {"module": "mine", "registered_name": "Custom>ReLU"}
    assert refusal(layer).startswith("has a layer relu of class Custom>ReLU, which is not Keras' own")


# --- layers and options ----------------------------------------------------------------------------------------------


def test_layers_of_tensorflow_addons_are_refused_as_such() -> None:
    message = refusal(entry("Addons>GroupNormalization", "norm", on("image"), groups=4))
    assert "has a layer norm of class Addons>GroupNormalization, which is a layer of TensorFlow Addons" in message


def test_layers_of_others_are_refused_by_name() -> None:
    message = refusal(entry("FixedDropout", "drop", on("image"), rate=0.1))
    assert (
        "has a layer drop of class FixedDropout, which is not Keras' own, and models are loaded in safe mode" in message
    )


def test_activations_of_others_are_refused_by_name() -> None:
    for activation in (
        "my_swish",
        {"class_name": "function", "config": "f", "registered_name": "Custom>f", "module": "mine"},
    ):
        message = refusal(entry("Activation", "act", on("image"), activation=activation))
        assert message.startswith("has a layer act with the activation ")


def test_an_option_that_changes_something_is_refused_by_name() -> None:
    layer = entry("BatchNormalization", "bn", on("image"), axis=[3], virtual_batch_size=4)
    assert refusal(layer).startswith(
        "has a layer bn of class BatchNormalization with the option virtual_batch_size=4, which Keras 3"
    )


@pytest.mark.parametrize(
    "layer",
    [
        entry("DepthwiseConv2D", "l", on("image"), kernel_size=[3, 3], groups=1, fused=None),
        entry("BatchNormalization", "l", on("image"), axis={"class_name": "ListWrapper", "items": [3]}, renorm=False),
        entry(
            "LeakyReLU",
            "l",
            on("image"),
            alpha=NUMPY_NUMBER,
        ),
        entry("RandomHeight", "l", on("image"), factor=0.1) | {"config": {"name": "l"}},
        entry("Dense", "l", on("image"), units=2, activation={"class_name": "LeakyReLU", "config": {"alpha": 0.2}}),
        entry(
            "Conv2D",
            "l",
            on("image"),
            filters=2,
            kernel_size=1,
            dtype=POLICY,
        ),
        entry("ReLU", "block/relu", on("image"), max_value=6.0),
        entry(
            "TimeDistributed",
            "l",
            on("image"),
            layer=DENSE,
        ),
    ],
)
def test_layers_whose_options_changed(layer: dict[str, Any]) -> None:
    assert np.isfinite(answers(functional(layer))).all()


def test_hard_sigmoid_is_that_of_keras_2() -> None:
    x = np.linspace(-4, 4, 96).reshape(2, 4, 4, 3).astype(np.float32)
    model = model_of(functional(entry("Activation", "act", on("image"), activation="hard_sigmoid")))
    np.testing.assert_allclose(np.asarray(model(x)), np.clip(0.2 * x + 0.5, 0, 1), atol=1e-6)


def test_a_model_nested_twice_is_called_twice() -> None:
    inner = functional(entry("ReLU", "relu", on("image"), max_value=6.0))
    nested = inner | {"name": "m2", "inbound_nodes": [[["image", 0, 0, {}]], [["shift", 0, 0, {}]]]}
    nested["config"]["name"] = "m2"
    shift = entry("Rescaling", "shift", on("image"), scale=1.0, offset=-3.0)
    end = entry("Subtract", "end", [[["m2", 1, 0, {}], ["m2", 2, 0, {}]]])
    expected = np.clip(IMAGE, 0, 6) - np.clip(IMAGE - 3, 0, 6)
    np.testing.assert_allclose(answers(functional(nested, shift, end)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "configuration", [[], "text", {}, {"class_name": "Functional"}, {"class_name": "Sequential", "config": 3}]
)
def test_what_is_no_configuration(configuration: Any) -> None:
    with pytest.raises(LegacyError, match="has a configuration that is no model of Keras 2"):
        translate_configuration(configuration)


def test_a_subclassed_model_is_refused_by_name() -> None:
    with pytest.raises(LegacyError, match="is of class MyModel, which is not Keras' own"):
        translate_configuration({"class_name": "MyModel", "config": {}})
