"""The worker's functions: logits whatever a network ends in, and what counts as the same network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers
from PIL import Image

from convert.errors import LoweringError
from convert.images.conventions import input_spec
from convert.keras_models.model_files import load_classifier
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweringRequest
from convert.lowering.worker import compare, keras_logits, lower_here, tflite_logits
from convert.tflite.interpreter import RecordingEngine
from edge_runtime.preprocess import load_pixels, normalize

Tensor = Any
Array = npt.NDArray[Any]
SHAPE = (9, 8, 3)


def features(x: Tensor) -> Tensor:
    return layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, activation="relu")(x))


def model_of(body: Callable[[Tensor], Tensor], name: str = "network") -> keras.Model:
    image = keras.Input(SHAPE)
    return keras.Model(image, body(image), name=name)


def whole(body: Callable[[Tensor], Tensor]) -> keras.Model:
    """A Sequential that has a whole classifier as its only layer."""
    return keras.Sequential([keras.Input(SHAPE), model_of(body, "inside")])


def dense_softmax(x: Tensor) -> Tensor:
    return layers.Dense(4, activation="softmax")(features(x))


def softmax_layer(x: Tensor) -> Tensor:
    return layers.Softmax()(layers.Dense(4)(features(x)))


def softmax_activation(x: Tensor) -> Tensor:
    return layers.Activation("softmax")(layers.Dense(4, use_bias=False)(features(x)))


def softmax_operation(x: Tensor) -> Tensor:
    return keras.ops.softmax(layers.Dense(4)(features(x)))


def convolution_softmax(x: Tensor) -> Tensor:
    x = layers.AveragePooling2D((7, 6))(layers.Conv2D(5, 3)(x))
    return layers.Flatten()(layers.Conv2D(4, 1, activation="softmax")(x))


def softmax_before_reshapes(x: Tensor) -> Tensor:
    x = layers.Softmax()(layers.Reshape((1, 1, 4))(layers.Dense(4)(features(x))))
    return layers.Activation("linear")(layers.Dropout(0.5)(layers.Flatten()(x)))


def two_softmaxes(x: Tensor) -> Tensor:
    attention = layers.Dense(5, activation="softmax")(features(x))
    return layers.Dense(4, activation="softmax")(layers.Multiply()([features(x), attention]))


ENDS: dict[str, Callable[[], keras.Model]] = {
    "dense with softmax": lambda: model_of(dense_softmax),
    "softmax layer": lambda: model_of(softmax_layer),
    "softmax as activation layer": lambda: model_of(softmax_activation),
    "softmax as operation": lambda: model_of(softmax_operation),
    "convolution with softmax": lambda: model_of(convolution_softmax),
    "softmax, then reshapes": lambda: model_of(softmax_before_reshapes),
    "two softmaxes": lambda: model_of(two_softmaxes),
    "logits of a dense layer": lambda: model_of(lambda x: layers.Dense(4)(features(x))),
    "logits of a global pool": lambda: model_of(lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))),
    "nested backbone": lambda: keras.Sequential(
        [keras.Input(SHAPE), model_of(features, "backbone"), layers.Dense(4, activation="softmax")]
    ),
    "nested whole": lambda: whole(dense_softmax),
    "nested whole, softmax layer": lambda: whole(softmax_layer),
    "nested whole, logits": lambda: whole(lambda x: layers.Dense(4)(features(x))),
    "nested twice": lambda: keras.Sequential([keras.Input(SHAPE), whole(softmax_before_reshapes)]),
    "nested after preprocessing": lambda: model_of(lambda x: whole(dense_softmax)(layers.Rescaling(0.5, 0.1)(x))),
    "softmax after a nested model": lambda: model_of(
        lambda x: layers.Softmax()(whole(lambda y: layers.Dense(4)(features(y)))(x))
    ),
}


def loaded(build: Callable[[], keras.Model], folder: Path) -> keras.Model:
    """As a user's file is loaded: saved, read, and ended in a softmax."""
    keras.utils.set_random_seed(3)
    model = build()
    random = np.random.default_rng(4)
    model.set_weights([random.normal(0, 0.7, weight.shape) for weight in model.weights])
    model.save(folder / "model.keras")
    return load_classifier(folder / "model.keras")


def pictures(folder: Path, count: int = 3) -> tuple[Path, ...]:
    random = np.random.default_rng(5)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, SHAPE, np.uint8)).save(folder / f"{i}.png")
    return tuple(sorted(folder.glob("*.png")))


@pytest.mark.parametrize("name", ENDS)
def test_keras_logits_are_what_the_softmax_reads(name: str, tmp_path: Path) -> None:
    model = loaded(ENDS[name], tmp_path)
    images = np.random.default_rng(5).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    weights = [value.copy() for value in model.get_weights()]
    logits = keras_logits(model, images)
    assert logits.shape == (3, 4)
    powers = np.exp(logits)
    assert np.allclose(powers / powers.sum(axis=1, keepdims=True), model.predict_on_batch(images), atol=1e-6)
    assert np.abs(logits.sum(axis=1) - 1).max() > 1e-3, "not the probabilities themselves"
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "name", ["softmax, then reshapes", "nested twice", "convolution with softmax", "logits of a global pool"]
)
def test_such_networks_are_lowered_faithfully(name: str, tmp_path: Path) -> None:
    model = loaded(ENDS[name], tmp_path)
    images = pictures(tmp_path)
    request = LoweringRequest(ModelSource(str(tmp_path / "model.keras")), "tf", images, tmp_path / "float.tflite")
    result = lower_here(request, lambda stage: None)
    assert result["keras_sqnr_db"] >= 100
    assert (result["height"], result["width"], result["classes"]) == (9, 8, 4)
    spec = input_spec("tf", 9, 8)
    tensors = normalize(np.stack([load_pixels(path, spec) for path in images]), spec)
    engine = RecordingEngine(request.output.read_bytes())
    answers = np.stack([engine.run(tensor[np.newaxis])[0] for tensor in tensors])
    assert np.allclose(answers, model.predict_on_batch(tensors), atol=1e-6)
    assert np.allclose(tflite_logits(request.output.read_bytes(), tensors), keras_logits(model, tensors), atol=1e-4)


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    loaded(ENDS["dense with softmax"], tmp_path)
    readable = pictures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    source, output = ModelSource(str(tmp_path / "model.keras")), tmp_path / "float.tflite"
    request = LoweringRequest(source, "tf", (tmp_path / "broken.png", *readable), output)
    assert lower_here(request, lambda stage: None)["keras_sqnr_db"] > 100
    with pytest.raises(LoweringError, match=r"no picture to compare Keras and TFLite on: .*broken\.png"):
        lower_here(LoweringRequest(source, "tf", (tmp_path / "broken.png",), output), lambda stage: None)


def noisy(logits: Array, db: float) -> Array:
    """The logits with centred noise so far below them."""
    noise = np.random.default_rng(1).normal(0, 1, logits.shape)
    noise -= noise.mean(axis=1, keepdims=True)
    signal = logits - logits.mean(axis=1, keepdims=True)
    return np.asarray(logits + noise * np.sqrt((signal**2).sum() / (noise**2).sum()) * 10 ** (-db / 20))


LOGITS = np.random.default_rng(0).normal(0, 3, (8, 10))


def test_80_db_is_the_same_network_and_79_is_not() -> None:
    assert compare(LOGITS, noisy(LOGITS, 80.1)) == pytest.approx(80.1, abs=0.01)
    with pytest.raises(LoweringError, match=r"agree to 79\.9 dB only, 80 dB are needed"):
        compare(LOGITS, noisy(LOGITS, 79.9))


def test_what_a_softmax_forgets_does_not_count() -> None:
    assert compare(LOGITS, LOGITS + 7) > 200
    assert compare(LOGITS, LOGITS) == 999, "a number that JSON can hold"


def test_logits_that_hardly_spread_say_nothing() -> None:
    """Near-uniform answers agree while they are wrong."""
    flat = 1 + LOGITS * 1e-5
    with pytest.raises(LoweringError, match=r"logits spread by 2\.7e-05 over its classes, it says nothing"):
        compare(flat, flat)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(value: float) -> None:
    broken = LOGITS.copy()
    broken[2, 3] = value
    with pytest.raises(LoweringError, match="NaN or infinity"):
        compare(broken, broken)
    with pytest.raises(LoweringError, match="agree to nan dB only"):
        compare(LOGITS, np.where(np.isfinite(broken), LOGITS, np.nan))


def test_without_tensorflow_the_extra_is_named() -> None:
    """`irv2-drift --reference X.keras` with the [drift] extra alone."""
    code = "import sys; sys.modules['tensorflow'] = None; from convert.keras_models import lowering_worker; "
    code += "sys.exit(lowering_worker.main())"
    request = '{"source": {"model": "a.keras", "weights": null}, "preprocessing": "tf", "images": [], "output": "x"}'
    done = subprocess.run([sys.executable, "-c", code], input=request, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert '"MissingExtraError"' in done.stdout
    assert "tensorflow is not installed: pip install 'irv2-edge[convert]'" in done.stdout
