"""How each layer and operation of Keras changes an affine map of the image: `RULES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from convert.images.feeding import FrontResize
from convert.keras_models.front.image_map import ImageMap
from convert.keras_models.front.wording import described, exact_numbers, shown_numbers
from edge_runtime.arrays import Array
from edge_runtime.geometry import CROP, PAD, STRETCH

INACTIVE = (
    *("AlphaDropout", "AugMix", "CutMix", "Dropout", "Equalization", "GaussianDropout", "GaussianNoise", "MixUp"),
    *("RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast"),
    *("RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue"),
    *("RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
    *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization", "SpatialDropout2D"),
)
"""Layers of Keras that return their input when they are not training; a test calls each."""
ANTIALIASED = {"bilinear": "bilinear", "nearest": "nearest", "bicubic": "bicubic", "lanczos3": "lanczos"}
FILTERS = {**ANTIALIASED, "bilinear": "tf-bilinear", "bicubic": "tf-bicubic"}
"""Interpolation of a `Resizing`, with antialias and without -> the filter of a card that stands for it."""
SUMS_TO_ONE = (*FILTERS, "lanczos5", "area")
"""Interpolations that leave a constant picture as it is."""
FLOATS = ("float32", "float64")
ANY_SIZE = 5
"""A height or width to try slices of the image on, where the network takes any."""


@dataclass(frozen=True)
class KnownCall:
    """A call of a layer or an operation, and what is known of the tensors that it reads; None where it is nothing."""

    node: Any
    inputs: list[ImageMap | None]

    @property
    def operation(self) -> Any:
        """Return the layer or the operation."""
        return self.node.operation

    @property
    def image(self) -> ImageMap | None:
        """Return what is known of the first tensor that it reads."""
        return self.inputs[0] if self.inputs else None

    @property
    def taken(self) -> tuple[int | None, ...]:
        """Return the shape of the first tensor that it reads."""
        return tuple(self.node.input_tensors[0].shape)

    @property
    def given(self) -> tuple[int | None, ...]:
        """Return the shape of the tensor that it makes."""
        return tuple(self.node.outputs[0].shape)

    @property
    def operands(self) -> list[Any]:
        """Return the arguments, tensors and constants alike."""
        return [*self.node.arguments.args, *self.node.arguments.kwargs.values()]

    def joined(self) -> ImageMap | None:
        """Return the channels of all inputs side by side."""
        parts = [part for part in self.inputs if part is not None]
        if not parts or len(parts) < len(self.inputs) or any(part.moves != parts[0].moves for part in parts):
            return None
        return replace(
            parts[0],
            source=sum((part.source for part in parts), ()),
            scale=sum((part.scale for part in parts), ()),
            shift=sum((part.shift for part in parts), ()),
            folded=tuple(dict.fromkeys(line for part in parts for line in part.folded)),
            inactive=tuple(dict.fromkeys(name for part in parts for name in part.inactive)),
        )

    def is_last_axis(self, axis: Any) -> bool:
        """Return whether `axis`, or the only one in it, is that of the channels."""
        axes = axis if isinstance(axis, (list, tuple)) else (axis,)
        return len(axes) == 1 and axes[0] in (-1, len(self.given) - 1)


def _per_channel(value: Any, channels: int | None) -> Array | None:
    """Return constants, if they are one for all or one for each channel."""
    if isinstance(value, keras.KerasTensor):
        return None
    try:
        values = exact_numbers(value)
    except (TypeError, ValueError):
        return None
    return values if values.size == 1 or values.shape[-1:] == (values.size,) == (channels,) else _squeezed(values)


def _squeezed(values: Array) -> Array | None:
    """Return constants without the axes of batch, height and width that lie before their channels."""
    return values.reshape(-1) if values.ndim > 1 and values.shape[-1] == values.size else None


def _operation(call: KnownCall) -> ImageMap | None:
    """Follow an addition, subtraction, multiplication or division of the image and a constant."""
    if len(call.operands) != 2 or len(call.inputs) != 1 or call.image is None:
        return None
    is_first = isinstance(call.operands[0], keras.KerasTensor)
    constant = _per_channel(call.operands[1 if is_first else 0], call.given[-1])
    if constant is None or (constant.size > 1 and len(call.given) != 4):
        return None
    one, zero = np.ones(1), np.zeros(1)
    kind = type(call.operation).__name__.removeprefix("True")
    if kind == "Divide" and not (is_first and np.all(constant)):
        return None
    factor, offset = {
        "Add": (one, constant),
        "Subtract": (one, -constant) if is_first else (-one, constant),
        "Multiply": (constant, zero),
        "Divide": (1 / (constant if kind == "Divide" else one), zero),
    }[kind]
    return call.image.scaled(factor, offset, f"{kind}({shown_numbers(constant)})")


def _negative(call: KnownCall) -> ImageMap | None:
    return call.image and call.image.scaled(-np.ones(1), np.zeros(1), "Negative")


def _rescaling(call: KnownCall) -> ImageMap | None:
    layer = call.operation
    factor, offset = (_per_channel(value, call.given[-1]) for value in (layer.scale, layer.offset))
    if call.image is None or factor is None or offset is None:
        return None
    return call.image.scaled(factor, offset, described(layer))


def _normalization(call: KnownCall) -> ImageMap | None:
    layer = call.operation
    if call.image is None or layer.mean is None:
        return None
    constants = [np.asarray(keras.ops.convert_to_numpy(value)) for value in (layer.mean, layer.variance)]
    mean, variance = (_per_channel(value, call.given[-1]) for value in constants)
    if mean is None or variance is None:
        return None
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    line = described(layer)
    if layer.invert:
        return call.image.scaled(deviation, mean, line)
    return call.image.scaled(1 / deviation, -mean / deviation, line)


def _inactive(call: KnownCall) -> ImageMap | None:
    if call.image is None:
        return None
    return replace(call.image, inactive=(*call.image.inactive, type(call.operation).__name__))


def _unchanged(call: KnownCall) -> ImageMap | None:
    return call.image


def _linear(call: KnownCall) -> ImageMap | None:
    return call.image if call.operation.activation is keras.activations.linear else None


def _cast(call: KnownCall) -> ImageMap | None:
    return call.image if call.node.outputs[0].dtype in FLOATS else None


def _resizing(call: KnownCall) -> ImageMap | None:
    layer = call.operation
    if call.image is None or layer.interpolation not in SUMS_TO_ONE or layer.data_format != "channels_last":
        return None
    if call.taken == call.given and layer.interpolation in FILTERS:
        return call.image if call.image.resize is not None else _resized(call.image, layer)
    is_open = None in call.taken[1:3]  # of such a model only the size is asked for, see `resized_to`
    return _moved(call) if is_open or not layer.pad_to_aspect_ratio else None


def _resized(image: ImageMap, layer: Any) -> ImageMap | None:
    """Follow a resizing that finds the image at its size already, and would do something to others."""
    name = (ANTIALIASED if layer.antialias else FILTERS)[layer.interpolation]
    if not layer.pad_to_aspect_ratio:
        return replace(image, resize=FrontResize(name, CROP if layer.crop_to_aspect_ratio else STRETCH))
    fill = image.before(float(layer.fill_value), max(image.source) + 1)
    return None if fill is None else replace(image, resize=FrontResize(name, PAD, fill))


def _moved(call: KnownCall) -> ImageMap | None:
    layer = call.operation
    if call.image is None or getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    return call.image if call.taken == call.given else replace(call.image, moves=(*call.image.moves, layer))


def _random_crop(call: KnownCall) -> ImageMap | None:
    """Follow a random crop to the size that the image has: to another, Keras 3 passes it whole when not training."""
    return _inactive(call) if call.taken == call.given else None


def _item(call: KnownCall) -> ImageMap | None:
    """Follow the selection of channels by indices or slices, if it leaves every pixel at its place."""
    key = call.operands[1]
    key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    if call.image is None or len(call.taken) != 4:
        return None
    shape = tuple(side or ANY_SIZE for side in call.taken[1:])
    numbers = np.arange(int(np.prod(shape))).reshape(1, *shape)
    try:
        chosen = numbers[key]
    except (IndexError, TypeError, ValueError):
        return None
    if chosen.shape[:3] != numbers.shape[:3]:
        return None
    indices = np.atleast_1d(chosen[0, 0, 0]).tolist()
    if max(indices, default=shape[-1]) >= shape[-1]:  # the first pixel comes from elsewhere
        return None
    expected = numbers[..., indices]
    return call.image.picked(indices) if np.array_equal(chosen.reshape(expected.shape), expected) else None


def _flip(call: KnownCall) -> ImageMap | None:
    if call.image is None or len(call.given) != 4 or not call.is_last_axis(call.operation.axis):
        return None
    return call.image.picked(range(call.image.channels)[::-1])


def _concatenation(call: KnownCall) -> ImageMap | None:
    return call.joined() if len(call.given) == 4 and call.is_last_axis(call.operation.axis) else None


def _repeat(call: KnownCall) -> ImageMap | None:
    operation = call.operation
    if call.image is None or not isinstance(operation.repeats, int) or not call.is_last_axis(operation.axis):
        return None
    return call.image.picked([i for i in range(call.image.channels) for _ in range(operation.repeats)])


def _tile(call: KnownCall) -> ImageMap | None:
    *others, last = np.atleast_1d(call.operation.repeats).tolist()
    if call.image is None or set(others) - {1}:
        return None
    return call.image.picked([*range(call.image.channels)] * last)


Rule = Callable[[KnownCall], ImageMap | None]
RULES: dict[str, Rule] = {
    **dict.fromkeys(INACTIVE, _inactive),
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Add": _operation,
    "Subtract": _operation,
    "Multiply": _operation,
    "Divide": _operation,
    "TrueDivide": _operation,
    "Negative": _negative,
    "Cast": _cast,
    "Identity": _unchanged,
    "ActivityRegularization": _unchanged,
    "Activation": _linear,
    "Resizing": _resizing,
    "CenterCrop": _moved,
    "RandomCrop": _random_crop,
    "Cropping2D": _moved,
    "GetItem": _item,
    "Flip": _flip,
    "Concatenate": _concatenation,
    "Stack": _concatenation,
    "Repeat": _repeat,
    "Tile": _tile,
}
"""Class name of a layer or an operation of Keras -> what it makes of an affine map of the image."""
