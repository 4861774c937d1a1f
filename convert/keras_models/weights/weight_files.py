"""Open a weights file of any format, and fill a network from it: layers matched by name or by order, all or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import keras

from convert.errors import SourceError
from convert.keras_models.hdf5 import open_hdf5
from convert.keras_models.walk import calls
from convert.keras_models.weight_formats import CHECKPOINT, HDF5, SAFETENSORS, weights_format
from convert.keras_models.weights.checkpoints import read_checkpoint
from convert.keras_models.weights.hdf5_layers import hdf5_layers
from convert.keras_models.weights.safetensors_arrays import read_safetensors
from convert.keras_models.weights.stored_weights import (
    BY_CREATION,
    BY_NAME,
    CONVOLUTIONS,
    DENSE,
    KERNEL_ARRAYS,
    NORMALIZATION_ARRAYS,
    NORMALIZATIONS,
    StoredLayer,
    StoredNetwork,
    read_arrays,
)
from edge_runtime.arrays import Array

ARTICLE_TITLE = "the article's network"
CLASSES = {
    CONVOLUTIONS: keras.layers.Conv2D,
    NORMALIZATIONS: keras.layers.BatchNormalization,
    DENSE: keras.layers.Dense,
}
MADE_UP = re.compile(r"(?:conv2d|batch_normalization)(?:_(\d+))?")
"""Names that Keras makes up: numbered in the order in which a process makes layers, from wherever it has come to."""


@contextmanager
def open_weights(path: Path) -> Iterator[StoredNetwork]:
    """Open a weights file; its arrays can be read inside the `with`.

    Raises:
        SourceError: it is damaged, of another format, or has no layers of a network that is known.
    """
    with READERS[weights_format(path)](path) as stored:
        if not stored.of(CONVOLUTIONS):
            raise SourceError(
                f"{path} has no convolutions in a layout of Keras: save the network with "
                "model.save_weights('NAME.weights.h5'), or pass a whole model as --model PATH"
            )
        yield stored


@contextmanager
def _open_hdf5_weights(path: Path) -> Iterator[StoredNetwork]:
    with open_hdf5(path) as file:
        saved_by, layers, order = hdf5_layers(file)
        yield StoredNetwork(path, saved_by, tuple(layers), order)


READERS: dict[str, Callable[[Path], AbstractContextManager[StoredNetwork]]] = {
    HDF5: _open_hdf5_weights,
    CHECKPOINT: lambda path: nullcontext(read_checkpoint(path)),
    SAFETENSORS: read_safetensors,
}
"""Formats, and what opens a file of each."""


def set_stored_weights(model: keras.Model, stored: StoredNetwork, title: str = ARTICLE_TITLE) -> None:
    """Fill `model` from a weights file. Either all layers are set or none.

    Args:
        title: what messages call the network.

    Raises:
        SourceError: the file is of another network; the message names the first layer, in network order, that does
            not fit.
    """
    matched = {kind: _match(model, stored, kind, title) for kind in (CONVOLUTIONS, NORMALIZATIONS, DENSE)}
    values: dict[str, list[Array]] = {}
    for layer in _created(model, tuple(CLASSES.values())):
        found = next(layers[layer.name] for layers in matched.values() if layer.name in layers)
        expected = {key: tuple(value.shape) for key in _keys(layer) if (value := getattr(layer, key)) is not None}
        values[layer.name] = read_arrays(found, expected, _called(layer.name, found, stored), title)
    for name, new in values.items():
        model.get_layer(name).set_weights(new)


def _keys(layer: keras.layers.Layer) -> tuple[str, ...]:
    return NORMALIZATION_ARRAYS if isinstance(layer, keras.layers.BatchNormalization) else KERNEL_ARRAYS


def _called(ours: str, found: StoredLayer, stored: StoredNetwork) -> str:
    """Return what to call a layer in a message: our name says where it is, the file's where to look for it."""
    known = ours if found.name is None or not MADE_UP.fullmatch(ours) else found.name
    return f"{known} of {stored.path}"


def _created(model: keras.Model, kinds: tuple[type, ...]) -> list[keras.layers.Layer]:
    """Return the layers of some classes in the order in which a builder makes them: branch after branch."""
    return [call.operation for call in calls(model.output) if isinstance(call.operation, kinds)]


def _match(model: keras.Model, stored: StoredNetwork, kind: str, title: str) -> dict[str, StoredLayer]:
    """Return the stored layers of one kind by the name of ours: matched by name where names tell, else by order."""
    found, created = stored.of(kind), _created(model, (CLASSES[kind],))
    names = [layer.name for layer in created]
    if kind == DENSE:
        if len(found) != len(names):
            raise SourceError(
                f"{stored.path} holds {len(found)} {kind}, {title} has {_number(len(names))}: pass the whole model as "
                "--model PATH"
            )
        return dict(zip(names, found, strict=True))
    if len(found) != len(names):
        raise SourceError(_other_network(stored, found, names, kind, title))
    if stored.order == BY_CREATION:
        return dict(zip(names, found, strict=True))
    by_name = _by_name(found, names)
    if by_name is not None:
        return by_name
    if stored.order == BY_NAME:
        raise SourceError(
            f"{stored.path} holds a model within a model whose {kind} have names of their own, and their order does "
            "not tell which is which: pass the whole model as --model PATH"
        )
    listed = [layer.name for layer in model.layers if isinstance(layer, CLASSES[kind])]
    return dict(zip(listed, found, strict=True))


def _unit(name: str | None) -> str:
    """Return the name of the unit that a layer belongs to; one layer may be all of it."""
    return re.sub("_(conv|bn)$", "", name or "")


def _by_name(found: list[StoredLayer], names: list[str]) -> dict[str, StoredLayer] | None:
    """Match by names where all are there: given names as they are, those that Keras made up by their number."""
    given = {_unit(layer.name): layer for layer in found if not _is_made_up(layer.name)}
    made_up = {_place(layer.name): layer for layer in found if _is_made_up(layer.name)}
    if len(given) + len(made_up) != len(found):
        return None  # two of one name
    ours = [name for name in names if MADE_UP.fullmatch(name)]
    if given.keys() != {_unit(name) for name in names if name not in ours} or len(made_up) != len(ours):
        return None
    in_order = dict(zip(ours, (made_up[place] for place in sorted(made_up)), strict=True))
    return {name: in_order[name] if name in in_order else given[_unit(name)] for name in names}


def _is_made_up(name: str | None) -> bool:
    return name is not None and MADE_UP.fullmatch(name) is not None


def _place(name: str | None) -> int:
    match = MADE_UP.fullmatch(name or "")
    return int(match.group(1) or 0) if match else 0


def _other_network(stored: StoredNetwork, found: list[StoredLayer], names: list[str], kind: str, title: str) -> str:
    """Word that the file has more or fewer layers than the network, with the first that is missing or too many."""
    message = f"{stored.path} holds {len(found)} {kind}, {title} has {len(names)}"
    ours = {_unit(name) for name in names if not MADE_UP.fullmatch(name)}
    theirs = [_unit(layer.name) for layer in found if layer.name and not _is_made_up(layer.name)]
    if ours.intersection(theirs):
        missing = [f"{_unit(name)} is missing" for name in names if _unit(name) in ours.difference(theirs)]
        extra = [f"{name} is not in the network" for name in theirs if name not in ours]
        message += f" ({[*missing, *extra][0]})" if missing or extra else ""
    elif len(found) < len(names):
        message += f" (none is left for {_unit(names[len(found)])})"
    return f"{message}: if it is another network, pass the whole model as --model PATH"


def _number(count: int) -> str:
    return "one" if count == 1 else str(count)
