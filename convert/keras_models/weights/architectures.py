"""The networks that a weights file can be for: recognised by what is in the file, and built to be filled from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
from keras import layers

from convert.errors import SourceError
from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
from convert.keras_models.sources import ARTICLE, BACKGROUND, KERAS_APPLICATIONS
from convert.keras_models.weights.stored_weights import BY_CREATION, CONVOLUTIONS, DENSE, StoredLayer, StoredNetwork
from convert.keras_models.weights.weight_files import ARTICLE_TITLE, set_stored_weights
from convert.keras_models.weights.whole_models import refuse_other_model

FEATURES = 1536
"""Numbers that keras.applications' network gives for an image before its head, once they are averaged."""
TOP = "predictions"
"""Keras' name for the dense layer of the network's own head."""
MOST_DENSE = 2
WITH_BACKGROUND = 1001
"""Classes of ImageNet in TF-Slim, with the background before them."""


@dataclass(frozen=True)
class Head:
    """The dense layers in a file, from the features on: what a weights file tells of how a network ends.

    Attributes:
        flattened: whether the first takes every pixel of the features, and not their averages.
        is_own: whether it is the network's own, of which only the last activation is not known.
    """

    dense: tuple[StoredLayer, ...]
    flattened: bool = False
    is_own: bool = False

    @property
    def units(self) -> int:
        """Return how many numbers the network gives."""
        return self.dense[-1].units

    @property
    def activation(self) -> str:
        """Return the activation that a network with so many outputs has."""
        return "sigmoid" if self.units == 1 else "softmax"


@dataclass(frozen=True)
class Architecture:
    """A network that weights can be for.

    Attributes:
        title: what messages call it.
        name: what cards and reports call it.
        convolutions: their number.
        own_name: what the names of its layers look like and those of other networks do not.
        build: what builds it with fresh weights, for images of a shape, to be filled from the file.
    """

    title: str
    name: str
    convolutions: int
    own_name: re.Pattern[str]
    build: Callable[[StoredNetwork, tuple[int, int, int]], tuple[keras.Model, Head]]


@dataclass(frozen=True)
class Filled:
    """A network filled from a weights file.

    Attributes:
        labels: None if not even the file's own way of counting classes is known.
        recognized: what the file turned out to be, and what it does not tell and was assumed.
    """

    model: keras.Model
    architecture: str
    labels: tuple[str, ...] | None
    recognized: str


def fill(stored: StoredNetwork, size: tuple[int, int], wanted: str | None = None, classes: int | None = None) -> Filled:
    """Build the network that the weights are for, and fill it.

    Args:
        size: height and width of its images, in pixels.
        wanted: a name in `ARCHITECTURES`, or None to tell from the file.
        classes: how many the user says there are.

    Raises:
        SourceError: no known network fits, the file has no head, is a whole model of another network, or `classes`
            contradicts it.
    """
    architecture = _recognize(stored) if wanted is None else ARCHITECTURES[wanted]
    foreign = next((layer for layer in stored.layers if layer.is_foreign), None)
    if foreign is not None:
        raise SourceError(
            f"{stored.path} holds {foreign.name or 'a layer'} with {' and '.join(foreign.arrays)}, "
            f"{architecture.title} has no such layer: pass the whole model as --model PATH"
        )
    model, head = architecture.build(stored, (*size, _channels(stored)))
    if classes is not None and classes not in ({1, 2} if head.units == 1 else {head.units}):
        raise SourceError(
            f"--classes {classes} contradicts {stored.path}, which has {_classes(head.units)}: leave --classes out"
        )
    others = tuple(layer for layer in stored.layers if layer.kind != DENSE)
    refuse_other_model(stored.path, model, head.activation)
    set_stored_weights(model, replace(stored, layers=(*others, *head.dense)), architecture.title)
    has_background = stored.order == BY_CREATION and head.units == WITH_BACKGROUND
    labels = (BACKGROUND, *map(str, range(1, head.units))) if has_background else None
    background = f" with {BACKGROUND} as class 0" if has_background else ""
    recognized = (
        f"{stored.path.name}: weights of {architecture.title} {_ending(head)}, saved by {stored.saved_by}, "
        f"{_classes(head.units)}{background}; {_assumptions(head)} assumed: weights do not tell"
    )
    return Filled(model, architecture.name, labels, recognized)


def _recognize(stored: StoredNetwork) -> Architecture:
    """Return the network with as many convolutions, or else with such names."""
    count, names = len(stored.of(CONVOLUTIONS)), [layer.name or "" for layer in stored.layers]
    for each in ARCHITECTURES.values():
        if count == each.convolutions:
            return each
    for each in ARCHITECTURES.values():
        if any(each.own_name.search(name) for name in names):
            return each
    known = ", ".join(f"{each.title} has {each.convolutions}" for each in ARCHITECTURES.values())
    raise SourceError(
        f"{stored.path} holds {count} convolutions: {known}; if it is another network, pass the whole model as "
        "--model PATH"
    )


def _channels(stored: StoredNetwork) -> int:
    """Return the channels of an image: every convolution but the first takes more."""
    return 1 if any(layer.arrays["kernel"].shape[2] == 1 for layer in stored.of(CONVOLUTIONS)) else 3


def _build_article(stored: StoredNetwork, shape: tuple[int, int, int]) -> tuple[keras.Model, Head]:
    dense = stored.of(DENSE)
    if len(dense) != 1:
        raise SourceError(
            f"{stored.path} holds {len(dense)} {DENSE}, the article's network has one: pass the whole model as --model "
            "PATH"
        )
    head = Head(tuple(dense), is_own=True)
    model = inception_resnet_v2(shape, head.units)
    model.get_layer("dense").activation = keras.activations.get(head.activation)
    return model, head


def _build_keras_applications(stored: StoredNetwork, shape: tuple[int, int, int]) -> tuple[keras.Model, Head]:
    """Build keras.applications' network with the head in the file; its batch-normalizations scale if the file's do."""
    base = keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=shape)
    if stored.has_gamma:
        base = keras.models.clone_model(base, clone_function=_scaling)
    height, width, channels = base.output.shape[1:]
    head = _head(stored, height * width * channels, f"{shape[0]}x{shape[1]}")
    pool = layers.Flatten(name="flat") if head.flattened else layers.GlobalAveragePooling2D(name="avg_pool")
    x = pool(base.output)
    for number, hidden in enumerate(head.dense[:-1], 1):
        x = layers.Dense(hidden.units, "relu", "bias" in hidden.arrays, name=f"hidden_{number}")(x)
    x = layers.Dense(head.units, head.activation, "bias" in head.dense[-1].arrays, name=TOP)(x)
    return keras.Model(base.input, x, name="inception_resnet_v2"), head


def _scaling(layer: layers.Layer) -> layers.Layer:
    """Return a fresh copy of a layer; one of a batch-normalization has a gamma."""
    more = {"scale": True} if isinstance(layer, layers.BatchNormalization) else {}
    return type(layer).from_config(layer.get_config() | more)


def _head(stored: StoredNetwork, flat: int, size: str) -> Head:
    """Return the dense layers of a file, which stand behind the pooled or the `flat` features of its network."""
    dense, path = stored.of(DENSE), stored.path
    if not dense:
        raise SourceError(
            f"{path} has no head: its weights end in features, not in classes; save those of the whole classifier "
            "where it was trained, or pass it as --model PATH"
        )
    if len(dense) > MOST_DENSE:
        raise SourceError(
            f"{path} holds {len(dense)} {DENSE}, and weights do not tell what is between them: pass the whole model "
            "as --model PATH"
        )
    inputs = [layer.arrays["kernel"].shape[0] for layer in dense]
    if len(dense) == MOST_DENSE and inputs[1] != dense[0].units and inputs[0] == dense[1].units:
        dense, inputs = dense[::-1], inputs[::-1]
    if inputs[0] not in (FEATURES, flat):
        raise SourceError(
            f"the first dense layer in {path} takes {inputs[0]} numbers, keras.applications' InceptionResNetV2 gives "
            f"{FEATURES}, or {flat} unpooled at {size} pixels: pass --input-size N, the size it was trained at, or the "
            "whole model as --model PATH"
        )
    is_own = len(dense) == 1 and inputs[0] == FEATURES and (stored.order == BY_CREATION or dense[0].name == TOP)
    return Head(tuple(dense), inputs[0] != FEATURES, is_own)


def _ending(head: Head) -> str:
    if head.is_own:
        return "with top"
    count = "one dense layer" if len(head.dense) == 1 else f"{len(head.dense)} dense layers"
    return f"with a head of {count}"


def _classes(units: int) -> str:
    return "one unit, for two classes" if units == 1 else f"{units} classes"


def _assumptions(head: Head) -> str:
    pooling = [] if head.is_own else ["flattening" if head.flattened else "average pooling"]
    hidden = ["hidden activation relu"] if len(head.dense) > 1 else []
    return ", ".join([*pooling, *hidden, f"activation {head.activation}"])


ARCHITECTURES: dict[str, Architecture] = {
    ARTICLE: Architecture(
        ARTICLE_TITLE,
        "inception_resnet_v2 (article)",
        242,
        re.compile("^(?:stem|reduction_[AB]|inception_resnet_[ABC]_1)_.*conv_bn_relu"),
        _build_article,
    ),
    KERAS_APPLICATIONS: Architecture(
        "keras.applications' InceptionResNetV2",
        "keras.applications InceptionResNetV2",
        244,
        re.compile(r"^(?:block(?:35|17|8)_\d+_conv|conv_7b)$"),
        _build_keras_applications,
    ),
}
"""Networks by the name that `--architecture` takes, in the order in which they are tried."""
