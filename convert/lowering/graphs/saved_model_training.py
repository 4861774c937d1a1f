"""What Keras' `model.export` leaves of training in the function that answers, taken out before TensorFlow loads it.

Layers such as RandomFlip act in an exported model, on pixels that no two runs see alike, and store how far their random
numbers have come. An answer without them is what Keras' `model.predict` gives. Only TensorFlow's messages are changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from convert.errors import SourceError

RANDOM = frozenset(
    re.findall(
        r"\w+",
        """
    StatelessRandomGetKeyCounter StatelessRandomGetAlg StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormal
    StatelessTruncatedNormalV2
    """,
    )
)
ASSIGNMENTS = frozenset(["AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"])
REMOVED = RANDOM | ASSIGNMENTS | frozenset(
    re.findall(
        r"\w+",
        """
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation Atan Atan2 HSVToRGB ImageProjectiveTransformV2
    ImageProjectiveTransformV3 RGBToHSV Tan
    """,
    )
)  # fmt: skip
"""Operators beside those of classifiers that may be taken out of a graph; one that has another is not run at all."""

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
SHAPES = ("Shape", "ShapeN", "Size", "Rank")
RESOURCE = 20
"""TensorFlow's number of the type of a variable's handle."""


def take_out_training(library: Mapping[str, Any], reachable: Iterable[str]) -> list[str]:
    """Take out of functions what no answer needs; return the names of the layers of augmentation among it.

    All nodes go whose values reach no result.

    Raises:
        SourceError: an answer depends on a variable that is assigned; the message is what follows the folder's name.
    """
    functions, layers = sorted(reachable), list[str]()
    for name in functions:
        layers += _without_augmentation(library[name])
    needed = {name: _needed(library[name]) for name in functions}
    for name, assigned in _assigned(functions, library).items():
        _refuse_feedback(library[name], needed[name], assigned)
    for name in functions:
        _drop(library[name], needed[name])
    return layers


def called_functions(node: Any, library: Mapping[str, Any]) -> set[str]:
    """Return the names of the functions that a node calls."""
    attributes = (function.name for attr in node.attr.values() for function in (attr.func, *attr.list.func))
    return {node.op, *attributes} & library.keys()


def _data(node: Any) -> list[str]:
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _source(tensor: str) -> str:
    """Return the node or argument behind a tensor or a control edge."""
    return tensor.removeprefix("^").partition(":")[0]


def _needed(function: Any) -> set[str]:
    """Return the names of the nodes and arguments that the results are computed from."""
    nodes = {node.name: node for node in function.node_def}
    needed, pending = set[str](), [_source(tensor) for tensor in function.ret.values()]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [_source(tensor) for tensor in _data(nodes[name])] if name in nodes else []
    return needed


def _drop(function: Any, needed: set[str]) -> None:
    """Remove nodes that are not needed, and what waits for them."""
    dropped = {node.name for node in function.node_def if node.name not in needed}
    kept = [node for node in function.node_def if node.name not in dropped]
    for node in kept:
        inputs = [tensor for tensor in node.input if not (tensor.startswith("^") and _source(tensor) in dropped)]
        del node.input[:]
        node.input.extend(inputs)
    del function.node_def[:]
    function.node_def.extend(kept)
    for end in [end for end, name in function.control_ret.items() if name in dropped]:
        del function.control_ret[end]
    ends = [end for end in function.signature.control_output if end in function.control_ret]
    del function.signature.control_output[:]
    function.signature.control_output.extend(ends)


def _assigned(functions: Iterable[str], library: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the handles of variables that each function, or one that it calls, assigns, each with a node that does."""
    found = {name: dict[str, str]() for name in functions}
    grows = True
    while grows:  # functions may stand in any order
        before = sum(map(len, found.values()))
        for name, handles in found.items():
            for node in library[name].node_def:
                handles.update(_assigned_by(node, found, library))
        grows = sum(map(len, found.values())) > before
    return found


def _assigned_by(node: Any, found: Mapping[str, dict[str, str]], library: Mapping[str, Any]) -> dict[str, str]:
    """Return the handles that a node assigns, as far as it is found what the functions that it calls assign."""
    if node.op in ASSIGNMENTS:
        return dict.fromkeys(_data(node)[:1], node.name)
    handles = dict[str, str]()
    for called in called_functions(node, library):
        inside = found[called]
        if node.op in CALLS:
            arguments = [argument.name for argument in library[called].signature.input_arg]
            pairs = zip(arguments, node.input, strict=False)
            handles |= {given: inside[argument] for argument, given in pairs if argument in inside}
        elif inside:
            handles |= dict.fromkeys(_data(node), next(iter(inside.values())))
    return handles


def _refuse_feedback(function: Any, needed: set[str], assigned: Mapping[str, str]) -> None:
    """Refuse a function with an assignment whose variable something that is needed reads, perhaps afterwards."""
    arguments = {argument.name for argument in function.signature.input_arg}
    nodes = [node for node in function.node_def if node.name in needed]
    for handle, assignment in assigned.items():
        readers = [node for node in nodes if handle in _data(node)]
        passes_on = len(readers) == 1 and readers[0].op in CALLS  # to a function that is looked at by itself
        if handle not in arguments or (readers and not passes_on):
            raise SourceError(
                f" is not run: its answers may depend on a variable that it assigns ({assignment}); save the "
                "classifier alone"
            )


def _without_augmentation(function: Any) -> list[str]:
    """Lead each image past the layers that draw random numbers; return their names."""
    layers = list[str]()
    while (found := _augmentation(function)) is not None:
        layer, entering, leaving = found
        for node in function.node_def:
            inputs = [entering if tensor == leaving else tensor for tensor in node.input]
            del node.input[:]
            node.input.extend(inputs)
        for result, tensor in list(function.ret.items()):
            function.ret[result] = entering if tensor == leaving else tensor
        layers.append(layer)
    return layers


def _augmentation(function: Any) -> tuple[str, str, str] | None:
    """Return the first layer that makes other images of images by random numbers: name, what it takes, what it gives.

    A layer is a scope of names that reads one image and gives out one of the same shape.
    """
    needed = _needed(function)
    nodes = [node for node in function.node_def if node.name in needed]
    images, types = _images(function), _types(function)
    for node in nodes:
        scopes = node.name.split("/")[:-1] if node.op in RANDOM else []
        for depth in range(len(scopes), 0, -1):
            scope = "/".join(scopes[:depth])
            inside = {each.name for each in nodes if f"{each.name}/".startswith(f"{scope}/")}
            outside = [tensor for each in nodes if each.name not in inside for tensor in _data(each)]
            read = {tensor for each in nodes if each.name in inside for tensor in _data(each)}
            entering = {tensor for tensor in read if _source(tensor) not in inside and _source(tensor) in images}
            leaving = {tensor for tensor in (*outside, *function.ret.values()) if _source(tensor) in inside}
            if len(entering) == len(leaving) == 1:
                (before,), (after,) = entering, leaving
                kind = types.get(_source(after))
                if _source(after) in images and kind is not None and kind == types.get(_source(before)):
                    return scopes[depth - 1], before, after
    return None


def _images(function: Any) -> set[str]:
    """Return what depends on the values of arguments that are not variables, and not just on their shapes."""
    found = {argument.name for argument in function.signature.input_arg if argument.type != RESOURCE}
    size = 0
    while size < len(found):  # nodes may stand in any order
        size = len(found)
        for node in function.node_def:
            if node.op not in SHAPES and any(_source(tensor) in found for tensor in _data(node)):
                found.add(node.name)
    return found


def _types(function: Any) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return data type and shape of each argument and of each node of one result, if it has four axes."""
    found = dict[str, tuple[int, tuple[int, ...]]]()
    given = [(arg.name, arg.type, function.arg_attr[i].attr) for i, arg in enumerate(function.signature.input_arg)]
    for node in function.node_def:
        kind = next((node.attr[key].type for key in ("DstT", "T", "dtype") if key in node.attr), 0)
        given.append((node.name, kind, node.attr))
    for name, kind, attributes in given:
        shapes = list(attributes["_output_shapes"].list.shape) if "_output_shapes" in attributes else []
        if len(shapes) == 1 and len(shapes[0].dim) == 4:
            found[name] = kind, tuple(axis.size for axis in shapes[0].dim)
    return found
