"""Take off what stands in front of a network, as far as a card can say it, and name each layer of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from convert.images.feeding import Scaling
from convert.keras_models.front.image_map import ImageMap
from convert.keras_models.front.rules import RULES, KnownCall
from convert.keras_models.front.wording import described
from convert.keras_models.walk import calls, operation_names, unused_name


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


def strip(model: keras.Model) -> Front:
    """Take off what stands in front of a functional float32 model of one image, as far as a card can say it."""
    height, width, channels = model.inputs[0].shape[1:]
    cut = _cut(model, ImageMap.of_image(channels), channels)
    if cut is None:
        return Front(model, _scaling(ImageMap.of_image(channels)), _kept(model, ()))
    path, found = cut
    repeats = found.channels // channels
    lines = [f"folded: {line} into the card's mean and std" for line in found.folded]
    if channels > 1 and found.source != tuple(range(channels)):
        lines.append("folded: channels reversed, into the card's channel order")
    if found.inactive:
        lines.append(f"left out: {', '.join(found.inactive)}, which act in training only")
    if found.resize is not None:
        how = f"{found.resize.resize} filter, {found.resize.fit}"
        lines.append(f"folded: Resizing to {height}x{width}, by the card's {how}")
    values = "x".join(map(str, (height, width, channels)))
    lines += [f"kept: {described(move)}, an operator of its own on {values} values" for move in found.moves]
    if repeats > 1:
        lines.append(f"one channel repeated {repeats} times, for a network of colours")
    core = _rebuilt(model, path, found.moves, repeats)
    return Front(core, _scaling(found.picked(range(channels))), (*lines, *_kept(core, found.folded)))


def _kept(core: Any, folded: Sequence[str]) -> tuple[str, ...]:
    """Return a line about each layer that scales the image of what is left, and is none of those that were folded."""
    states = _states(core, ImageMap.of_image(core.inputs[0].shape[-1])).values()
    left = dict.fromkeys(line for state in states for line in state.folded if line not in folded)
    return tuple(f"kept: {line}, which mean and std of a card cannot say here" for line in left)


def resized_to(model: keras.Model) -> tuple[int, int] | None:
    """Return the height and width to which a model of images of any size resizes them first; None if it does not."""
    channels = model.inputs[0].shape[-1]
    cut = _cut(model, ImageMap.of_image(channels), channels)
    moves = () if cut is None else cut[1].moves
    return (int(moves[0].height), int(moves[0].width)) if moves and _is(moves[0], "Resizing") else None


def _scaling(state: ImageMap) -> Scaling:
    return Scaling(state.source, state.scale, state.shift, state.resize, state.folded)


def _is(operation: Any, name: str) -> bool:
    return type(operation).__name__ == name


def _cut(model: Any, image: ImageMap, channels: int) -> tuple[list[Any], ImageMap] | None:
    """Return where to cut, and what is known there; None if nothing stands in front.

    The place is the calls of the nested models that it lies in, then a tensor of the innermost.
    """
    states = _states(model, image)
    found: tuple[list[Any], ImageMap] | None = None
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


def _states(model: Any, image: ImageMap) -> dict[int, ImageMap]:
    """Return what is known of each tensor of a graph that is an affine map of its image, by the tensor's id."""
    states = {id(model.inputs[0]): image}
    for node in calls(model.outputs[0]):
        if not node.input_tensors or len(node.outputs) != 1:
            continue
        call = KnownCall(node, [states.get(id(tensor)) for tensor in node.input_tensors])
        if not any(call.inputs):
            continue
        state = _followed(call)
        if state is not None and state.channels == (call.given[-1] if len(call.given) == 4 else 1):
            states[id(node.outputs[0])] = state
    return states


def _followed(call: KnownCall) -> ImageMap | None:
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
    taken = {core.name, *(move.name for move in moves)}
    image = keras.Input((*size, core.inputs[0].shape[-1] if repeats == 1 else 1), name=unused_name("image", taken))
    tensor = image
    for move in moves:
        tensor = type(move).from_config(move.get_config())(tensor)
    if repeats > 1:
        tensor = keras.layers.Concatenate(name=unused_name("repeated", taken))([tensor] * repeats)
    return keras.Model(image, core(tensor), name=model.name)


def _behind(model: Any, path: list[Any]) -> Any:
    """Return the part of a model behind a cut; its layers are shared with the whole."""
    if len(path) == 1:
        core = keras.Model(path[0], model.outputs[0], name=model.name)
        core.inputs[0]._keras_history.operation.name = unused_name("image", operation_names(core.outputs[0]))
        return core
    node, *deeper = path
    inner = _behind(node.operation, deeper)
    image = keras.Input(inner.inputs[0].shape[1:], name=unused_name("image", operation_names(model.outputs[0])))
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
