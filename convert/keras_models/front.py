"""What stands in front of a network: scaling, augmentation, resizing; taken off, so that a card can say it instead.

Layers before the first convolution often prepare the image: `Rescaling`, `Normalization`, `preprocess_input` as
operations of the graph. Each is affine in every channel, and so is the whole,

    y[c] = scale[c] * x[source[c]] + shift[c],

which is what a card's mean, std and channel order say: pixels then go straight into the first convolution. The graph is
followed from its image for as long as it is of this form, into nested models too, and cut at the last tensor that all
of the network depends on and that a card can express. Layers that move pixels but weigh them to a sum of 1 (a crop,
a resize) commute with that, and stay behind the new input as operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from convert.images.feeding import Scaling
from convert.keras_models.walk import calls
from edge_runtime.arrays import Array

INACTIVE = (
    *("AlphaDropout", "AugMix", "CutMix", "Dropout", "Equalization", "GaussianDropout", "GaussianNoise", "MixUp"),
    *("RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast"),
    *("RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue"),
    *("RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
    *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization", "SpatialDropout2D"),
)
"""Layers of Keras that return their input when they are not training; a test calls each."""
FILTERS = {"bilinear": "bilinear", "nearest": "nearest", "bicubic": "bicubic", "lanczos3": "lanczos"}
"""Interpolation of a `Resizing` -> the filter of a card that stands for it."""
SUMS_TO_ONE = (*FILTERS, "lanczos5", "area")
"""Interpolations that leave a constant picture as it is."""
FLOATS = ("float32", "float64")
ANY_SIZE = 5
"""A height or width to try slices of the image on, where the network takes any."""


@dataclass(frozen=True)
class Affine:
    """What a tensor in front of a network holds: an affine map of the image, channel by channel.

    Attributes:
        source, scale, shift: see above; of each channel of the tensor.
        moves: layers, in order, that moved pixels and change their number.
        folded: lines about the layers on the way that the map replaces; inactive: names of those that do nothing.
        resize: the filter of a `Resizing` that found the image at its size already.
    """

    source: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    moves: tuple[Any, ...] = ()
    folded: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    resize: str | None = None

    @classmethod
    def of_image(cls, channels: int) -> Affine:
        """Return the map of the image itself."""
        return cls(tuple(range(channels)), (1.0,) * channels, (0.0,) * channels)

    @property
    def channels(self) -> int:
        """Return the number of channels of the tensor."""
        return len(self.source)

    @property
    def scales(self) -> bool:
        """Return whether it changes values."""
        return set(self.scale) != {1.0} or set(self.shift) != {0.0}

    def picked(self, indices: Iterable[int]) -> Affine:
        """Return the map of a tensor that holds these channels of this one."""
        chosen = list(indices)
        return replace(
            self,
            source=tuple(self.source[i] for i in chosen),
            scale=tuple(self.scale[i] for i in chosen),
            shift=tuple(self.shift[i] for i in chosen),
        )

    def scaled(self, factor: Array, offset: Array, line: str) -> Affine:
        """Return the map of factor * y + offset, of one value each or one for each channel."""
        channels = max(self.channels, factor.size, offset.size)
        wide = self.picked([0] * channels) if self.channels == 1 else self
        scale, shift = (np.broadcast_to(np.array(v), channels) for v in (wide.scale, wide.shift))
        factor, offset = (np.broadcast_to(v.reshape(-1), channels) for v in (factor, offset))
        return replace(
            wide,
            scale=tuple((scale * factor).tolist()),
            shift=tuple((shift * factor + offset).tolist()),
            folded=(*self.folded, line),
        )

    def fits_a_card(self, image_channels: int) -> bool:
        """Return whether mean, std and channel order can say it, of an image with so many channels."""
        if min(self.scale) <= 0 or not np.all(np.isfinite([*self.scale, *self.shift])):
            return False
        if image_channels == 1:  # repeated, perhaps
            return len(set(self.scale)) == len(set(self.shift)) == 1
        return self.source in (tuple(range(image_channels)), tuple(reversed(range(image_channels))))


@dataclass(frozen=True)
class Front:
    """A model without what stood in front of it.

    Attributes:
        model: the rest; its weights are those of the model that was given.
        scaling: what the front made of the values that it took.
        recognized: a line about each of its layers.
    """

    model: Any = field(repr=False)
    scaling: Scaling
    recognized: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Call:
    """A call of a layer or an operation, and what is known of the tensors that it reads; None where it is nothing."""

    node: Any
    inputs: list[Affine | None]

    @property
    def operation(self) -> Any:
        return self.node.operation

    @property
    def image(self) -> Affine | None:
        return self.inputs[0] if self.inputs else None

    @property
    def taken(self) -> tuple[int | None, ...]:
        return tuple(self.node.input_tensors[0].shape)

    @property
    def given(self) -> tuple[int | None, ...]:
        return tuple(self.node.outputs[0].shape)

    @property
    def operands(self) -> list[Any]:
        return [*self.node.arguments.args, *self.node.arguments.kwargs.values()]

    def joined(self) -> Affine | None:
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


def strip(model: keras.Model) -> Front:
    """Take off what stands in front of a functional float32 model of one image, as far as a card can say it."""
    height, width, channels = model.inputs[0].shape[1:]
    cut = _cut(model, Affine.of_image(channels), channels)
    if cut is None:
        return Front(model, _scaling(Affine.of_image(channels)), _kept(model, ()))
    path, found = cut
    repeats = found.channels // channels
    lines = [f"folded: {line} into the card's mean and std" for line in found.folded]
    if channels > 1 and found.source != tuple(range(channels)):
        lines.append("folded: channels reversed, into the card's channel order")
    if found.inactive:
        lines.append(f"left out: {', '.join(found.inactive)}, which act in training only")
    if found.resize is not None:
        lines.append(f"folded: Resizing to {height}x{width}, by the card's {found.resize} filter")
    values = "x".join(map(str, (height, width, channels)))
    lines += [f"kept: {_described(move)}, an operator of its own on {values} values" for move in found.moves]
    if repeats > 1:
        lines.append(f"one channel repeated {repeats} times, for a network of colours")
    core = _rebuilt(model, path, found.moves, repeats)
    return Front(core, _scaling(found.picked(range(channels))), (*lines, *_kept(core, found.folded)))


def _kept(core: Any, folded: Sequence[str]) -> tuple[str, ...]:
    """Return a line about each layer that scales the image of what is left, and is none of those that were folded."""
    states = _states(core, Affine.of_image(core.inputs[0].shape[-1])).values()
    left = dict.fromkeys(line for state in states for line in state.folded if line not in folded)
    return tuple(f"kept: {line}, which mean and std of a card cannot say here" for line in left)


def resized_to(model: keras.Model) -> tuple[int, int] | None:
    """Return the height and width to which a model of images of any size resizes them first; None if it does not."""
    channels = model.inputs[0].shape[-1]
    cut = _cut(model, Affine.of_image(channels), channels)
    moves = () if cut is None else cut[1].moves
    return (int(moves[0].height), int(moves[0].width)) if moves and _is(moves[0], "Resizing") else None


def _scaling(state: Affine) -> Scaling:
    return Scaling(state.source, state.scale, state.shift, state.resize, state.folded)


def _is(operation: Any, name: str) -> bool:
    return type(operation).__name__ == name


def _cut(model: Any, image: Affine, channels: int) -> tuple[list[Any], Affine] | None:
    """Return where to cut, and what is known there; None if nothing stands in front.

    The place is the calls of the nested models that it lies in, then a tensor of the innermost.
    """
    states = _states(model, image)
    found: tuple[list[Any], Affine] | None = None
    last = model.inputs[0]
    for node in calls(model.outputs[0]):
        tensor, state = node.outputs[0], states.get(id(node.outputs[0]))
        if state is None or len(tensor.shape) != 4 or tensor is model.outputs[0]:
            continue
        if not state.fits_a_card(channels) or not _separates(tensor, model):
            continue
        last = tensor
        if state != image:
            found = [tensor], state
    state = states[id(last)]
    readers = [node for node in calls(model.outputs[0]) if any(each is last for each in node.input_tensors)]
    if len(readers) == 1 and _is_entered(readers[0]):
        deeper = _cut(readers[0].operation, state, channels)
        if deeper is not None:
            return [readers[0], *deeper[0]], deeper[1]
    return found


def _is_entered(node: Any) -> bool:
    """Return whether a call is that of a nested model of one input and one output."""
    operation = node.operation
    return isinstance(operation, keras.Model) and len(operation.inputs) == len(operation.outputs) == 1


def _states(model: Any, image: Affine) -> dict[int, Affine]:
    """Return what is known of each tensor of a graph that is an affine map of its image, by the tensor's id."""
    states = {id(model.inputs[0]): image}
    for node in calls(model.outputs[0]):
        if not node.input_tensors or len(node.outputs) != 1:
            continue
        call = _Call(node, [states.get(id(tensor)) for tensor in node.input_tensors])
        if not any(call.inputs):
            continue
        state = _followed(call)
        if state is not None and state.channels == (call.given[-1] if len(call.given) == 4 else 1):
            states[id(node.outputs[0])] = state
    return states


def _followed(call: _Call) -> Affine | None:
    """Return what a call makes of an image, if it is an affine map."""
    operation = call.operation
    if not type(operation).__module__.startswith("keras.src."):
        return None
    if isinstance(operation, keras.Model):
        if call.image is None or not _is_entered(call.node):
            return None
        return _states(operation, call.image).get(id(operation.outputs[0]))
    rule = RULES.get(type(operation).__name__)
    return None if rule is None or call.image is None else rule(call)


def _separates(tensor: Any, model: Any) -> bool:
    """Return whether nothing of the image reaches a model's output but through `tensor`."""
    pending, seen = [model.outputs[0]], set()
    while pending:
        each = pending.pop()
        if each is tensor or id(each) in seen:
            continue
        if each is model.inputs[0]:
            return False
        seen.add(id(each))
        operation, index, _ = each._keras_history
        pending += operation._inbound_nodes[index].input_tensors
    return True


def _rebuilt(model: Any, path: list[Any], moves: Sequence[Any], repeats: int) -> Any:
    """Return the part of a model behind a cut, with the layers `moves` and a repeated channel before it."""
    core = _behind(model, path)
    if not moves and repeats == 1:
        return core
    size = model.inputs[0].shape[1:3]
    image = keras.Input((*size, core.inputs[0].shape[-1] if repeats == 1 else 1), name="image")
    tensor = image
    for move in moves:
        tensor = type(move).from_config(move.get_config())(tensor)
    if repeats > 1:
        tensor = keras.layers.Concatenate(name="repeated")([tensor] * repeats)
    return keras.Model(image, core(tensor), name=model.name)


def _behind(model: Any, path: list[Any]) -> Any:
    """Return the part of a model behind a cut; its layers are shared with the whole."""
    if len(path) == 1:
        core = keras.Model(path[0], model.outputs[0], name=model.name)
        core.inputs[0]._keras_history.operation.name = "image"
        return core
    node, *deeper = path
    inner = _behind(node.operation, deeper)
    image = keras.Input(inner.inputs[0].shape[1:], name="image")
    now = {id(node.outputs[0]): inner(image)}
    for later in calls(model.outputs[0]):
        read = [now.get(id(tensor)) for tensor in later.input_tensors]
        if later is not node and any(tensor is not None for tensor in read):
            args, kwargs = keras.tree.map_structure(
                lambda value: now.get(id(value), value), (later.arguments.args, later.arguments.kwargs)
            )
            for tensor, new in zip(later.outputs, keras.tree.flatten(later.operation(*args, **kwargs)), strict=True):
                now[id(tensor)] = new
    return keras.Model(image, now[id(model.outputs[0])], name=model.name)


def _numbers(value: Any) -> Array:
    """Return constants in float64; those in single precision by their shortest decimals, as they were written."""
    values = np.asarray(value)
    if values.dtype == np.float32:
        return np.asarray([float(str(each)) for each in values.reshape(-1)]).reshape(values.shape)
    return np.asarray(values, np.float64)


def _per_channel(value: Any, channels: int | None) -> Array | None:
    """Return constants, if they are one for all or one for each channel."""
    if isinstance(value, keras.KerasTensor):
        return None
    try:
        values = _numbers(value)
    except (TypeError, ValueError):
        return None
    return values if values.size == 1 or values.shape[-1:] == (values.size,) == (channels,) else _squeezed(values)


def _squeezed(values: Array) -> Array | None:
    """Return constants without the axes of batch, height and width that lie before their channels."""
    return values.reshape(-1) if values.ndim > 1 and values.shape[-1] == values.size else None


def _operation(call: _Call) -> Affine | None:
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
    return call.image.scaled(factor, offset, f"{kind}({_shown(constant)})")


def _negative(call: _Call) -> Affine | None:
    return call.image and call.image.scaled(-np.ones(1), np.zeros(1), "Negative")


def _rescaling(call: _Call) -> Affine | None:
    layer = call.operation
    factor, offset = (_per_channel(value, call.given[-1]) for value in (layer.scale, layer.offset))
    if call.image is None or factor is None or offset is None:
        return None
    return call.image.scaled(factor, offset, _described(layer))


def _normalization(call: _Call) -> Affine | None:
    layer = call.operation
    if call.image is None or layer.mean is None:
        return None
    constants = [np.asarray(keras.ops.convert_to_numpy(value)) for value in (layer.mean, layer.variance)]
    mean, variance = (_per_channel(value, call.given[-1]) for value in constants)
    if mean is None or variance is None:
        return None
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    line = _described(layer)
    if layer.invert:
        return call.image.scaled(deviation, mean, line)
    return call.image.scaled(1 / deviation, -mean / deviation, line)


def _inactive(call: _Call) -> Affine | None:
    if call.image is None:
        return None
    return replace(call.image, inactive=(*call.image.inactive, type(call.operation).__name__))


def _unchanged(call: _Call) -> Affine | None:
    return call.image


def _linear(call: _Call) -> Affine | None:
    return call.image if call.operation.activation is keras.activations.linear else None


def _cast(call: _Call) -> Affine | None:
    return call.image if call.node.outputs[0].dtype in FLOATS else None


def _resizing(call: _Call) -> Affine | None:
    layer = call.operation
    if layer.interpolation not in SUMS_TO_ONE or layer.pad_to_aspect_ratio or layer.data_format != "channels_last":
        return None
    if call.image is not None and call.taken == call.given and layer.interpolation in FILTERS:
        return replace(call.image, resize=FILTERS[layer.interpolation])
    return _moved(call)


def _moved(call: _Call) -> Affine | None:
    layer = call.operation
    if call.image is None or getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    return call.image if call.taken == call.given else replace(call.image, moves=(*call.image.moves, layer))


def _random_crop(call: _Call) -> Affine | None:
    """Follow a random crop to the size that the image has: to another, Keras 3 passes it whole when not training."""
    return _inactive(call) if call.taken == call.given else None


def _item(call: _Call) -> Affine | None:
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


def _flip(call: _Call) -> Affine | None:
    if call.image is None or len(call.given) != 4 or not call.is_last_axis(call.operation.axis):
        return None
    return call.image.picked(range(call.image.channels)[::-1])


def _concatenation(call: _Call) -> Affine | None:
    return call.joined() if len(call.given) == 4 and call.is_last_axis(call.operation.axis) else None


def _repeat(call: _Call) -> Affine | None:
    operation = call.operation
    if call.image is None or not isinstance(operation.repeats, int) or not call.is_last_axis(operation.axis):
        return None
    return call.image.picked([i for i in range(call.image.channels) for _ in range(operation.repeats)])


def _tile(call: _Call) -> Affine | None:
    *others, last = np.atleast_1d(call.operation.repeats).tolist()
    if call.image is None or set(others) - {1}:
        return None
    return call.image.picked([*range(call.image.channels)] * last)


def _described(layer: Any) -> str:
    """Name a layer with what it does: `Rescaling(1/127.5, -1)`."""
    configuration = layer.get_config()
    match type(layer).__name__:
        case "Rescaling":
            values = [_numbers(layer.scale), _numbers(layer.offset)]
            shown = [*map(_shown, values)] if np.any(values[1]) else [_shown(values[0])]
        case "Normalization":
            mean, variance = (np.asarray(keras.ops.convert_to_numpy(v)) for v in (layer.mean, layer.variance))
            shown = [f"mean {_shown(_numbers(mean))}", f"std {_shown(np.sqrt(_numbers(variance)))}"]
        case _:
            shown = [str(configuration[key]) for key in ("height", "width", "cropping") if key in configuration]
    return f"{type(layer).__name__}({', '.join(shown)})"


def _shown(values: Array) -> str:
    """Write constants as people do: 1/255, and one number for equal channels."""
    return " ".join(dict.fromkeys(_fraction(float(value)) for value in np.asarray(values).reshape(-1)))


def _fraction(value: float) -> str:
    inverse = 1 / value if value else 0.0
    is_inverse = abs(inverse) > 1 and abs(inverse * 2 - round(inverse * 2)) < 1e-6 * abs(inverse)
    return f"{'-' if value < 0 else ''}1/{abs(inverse):.6g}" if is_inverse and abs(value) < 0.5 else f"{value:.6g}"


Rule = Callable[[_Call], Affine | None]
SCALING: dict[str, Rule] = {
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Add": _operation,
    "Subtract": _operation,
    "Multiply": _operation,
    "Divide": _operation,
    "TrueDivide": _operation,
    "Negative": _negative,
    "Cast": _cast,
}
RULES: dict[str, Rule] = {
    **dict.fromkeys(INACTIVE, _inactive),
    **SCALING,
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
