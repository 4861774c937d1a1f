"""Load any Keras image classifier, of float32 images of one size; `heads` judges what it ends in.

Files of Keras 3 are loaded by Keras once their configuration is checked; those of Keras 2 are translated first.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import keras

from convert.errors import SizeUnknownError, SourceError
from convert.keras_models.configurations import (
    Configuration,
    application_layers,
    check_configuration,
    open_weights_in,
)
from convert.keras_models.formats import is_zip
from convert.keras_models.front.stripping import resized_to
from convert.keras_models.hdf5 import cut, one_line
from convert.keras_models.legacy.configuration import translate_configuration
from convert.keras_models.legacy.values import LegacyError
from convert.keras_models.legacy.weights import finish, set_named_weights, set_numbered_weights
from convert.keras_models.operation_names import with_operation_modules
from convert.keras_models.sources import Size, height_and_width, sides_text, size_text
from convert.keras_models.walk import operation_names, unused_name
from edge_runtime.specs import CHANNELS

LOW_RANK = ("lora_rank", "lora_alpha")
"""Options of a layer that was adapted by LoRA: two matrices whose product is added to its kernel."""
FULL = "Full object config"
"""What Keras writes before a configuration at the end of a message."""


def load_classifier(path: Path, configuration: Configuration, input_size: Size | None = None) -> keras.Model:
    """Load a whole Keras model of any age in safe mode; `configuration` is what its file says about it.

    Returns:
        A model of float32 images (N, height, width, 1 or 3). One that takes images of any size needs an `input_size`,
        its height and width.

    Raises:
        SourceError: the file is damaged or not a Keras model, holds code or classes that are not Keras' own, is not
            a network of RGB or grey images, or takes images of another size.
    """
    model = open_model(path, configuration)
    _check_classifier(model, path)
    return _on_images_of_one_size(model, input_size, path)


def open_model(path: Path, configuration: Configuration) -> keras.Model:
    """Load a whole model of any version of Keras, as it is; `configuration` is what its file says about it.

    Raises:
        SourceError: the file is damaged or not a Keras model, or holds code or classes that are not Keras' own.
    """
    translated = translated_configuration(configuration, path)
    check_configuration(translated or configuration.content, path)
    try:
        with keras.saving.custom_object_scope(application_layers()):
            if translated is None:
                return _load(path)
            model = keras.saving.deserialize_keras_object(translated, safe_mode=True)
    except Exception as error:  # Keras raises whatever the damage leads to
        raise SourceError(
            f"{path} cannot be loaded by Keras {keras.__version__} ({reason(error)}): save it again, or pass a "
            "SavedModel of it (model.export, where it was made)"
        ) from error
    with open_weights_in(path) as file:
        if is_zip(path):
            set_numbered_weights(model, configuration.content, file, path)
        else:
            set_named_weights(model, file, path)
    finish(model)
    return model


def translated_configuration(configuration: Configuration, path: Path) -> dict[str, Any] | None:
    """Return what Keras 3 has to be given in place of a model's configuration; None where that is what it needs.

    Raises:
        SourceError: it has a layer, an option or an operation that Keras 3 has no equal of.
    """
    try:
        if configuration.is_keras_2:
            return translate_configuration(configuration.content)
        return with_operation_modules(configuration.content) if configuration.container == "HDF5" else None
    except LegacyError as error:
        raise SourceError(f"{path} {error}") from error


def _load(path: Path) -> keras.Model:
    """Let Keras load a file of its own version; it goes by the suffix, which may be another."""
    suffix = ".keras" if is_zip(path) else ".h5"
    with tempfile.TemporaryDirectory(prefix="irv2-edge-") as folder:
        named = Path(folder) / f"model{suffix}"
        named.symlink_to(path.absolute())
        return keras.models.load_model(named, compile=False, safe_mode=True)


def reason(error: BaseException) -> str:
    """Return why Keras cannot make a model of a configuration: one sentence of a message with whole configurations."""
    message = " ".join(str(error).split())
    if "could not be deserialized properly" not in message:
        return one_line(error) if FULL not in message else cut(_first_sentence(message), 200)
    layer = re.search(r"<class '[\w.]*?(\w+)'>", message)
    name = re.search(r"'config': \{'name': '([^']*)'", message)
    why = _first_sentence(message.rpartition("Exception encountered: ")[2])
    return cut(" ".join(filter(None, ["layer", name and name[1], layer and f"of class {layer[1]}:", why])), 400)


def _first_sentence(message: str) -> str:
    return re.split(r"\.(?= [A-Z])", message.partition(FULL)[0].strip(), maxsplit=1)[0].removesuffix(".")


def _check_classifier(model: keras.Model, path: Path) -> None:
    """Refuse a model that does not take one RGB image."""
    if not model.built or not getattr(model, "inputs", None):
        raise SourceError(f"{path} was saved before it had an input shape: call the model on an image, then save it")
    if len(model.inputs) != 1:
        raise SourceError(f"{path} has {len(model.inputs)} inputs: a classifier has one, an image")
    quantized = next((each for each in model._flatten_layers() if getattr(each, "quantization_mode", None)), None)
    if quantized is not None:
        raise SourceError(
            f"{path} was quantized by Keras itself (layer {quantized.name}, {quantized.quantization_mode}): pass the "
            "model as it was saved before model.quantize(), the float values are needed here"
        )
    taken = tuple(model.inputs[0].shape[1:])
    if len(taken) != 3:
        raise SourceError(f"{path} takes inputs of shape {taken}: a classifier of images takes (height, width, 3)")
    if taken[2] not in CHANNELS:
        raise SourceError(
            f"{path} takes images of shape {taken}: only RGB, (height, width, 3), and grey, (height, width, 1), are "
            "supported"
        )


def _pass_size(sides: list[int | None]) -> str:
    """Return how to say the sides that are open: the fixed one stays."""
    height, width = ("N" if side is None else str(side) for side in sides)
    return f"pass --input-size {'N or HxW' if height == width else f'{height}x{width}'}"


def _on_images_of_one_size(model: keras.Model, input_size: Size | None, path: Path) -> keras.Model:
    """Return the same model on float32 images of a fixed size, in single precision throughout, adaptations merged."""
    batch, *size, channels = model.inputs[0].shape
    fixed = [side for side in size if side is not None]
    wanted = height_and_width(input_size) if input_size is not None or len(fixed) == 2 else resized_to(model)
    if input_size is not None and any(
        side not in (None, other) for side, other in zip(size, wanted or (), strict=True)
    ):
        raise SourceError(
            f"--input-size {size_text(input_size)} differs from {sides_text(size)}, the input size of {path}: "
            f"{'leave it out' if len(fixed) == 2 else _pass_size(size)}"
        )
    if wanted is None and len(fixed) < 2:
        shown = f"{sides_text(size)} pixels" if fixed else "any size"
        raise SizeUnknownError(f"{path} takes images of {shown}: {_pass_size(size)}, the size it was trained at")
    is_float32 = model.inputs[0].dtype == model.outputs[0].dtype == "float32" and all(
        getattr(layer, "compute_dtype", "float32") == "float32" for layer in model.layers
    )
    adapted = any(getattr(layer, "lora_enabled", False) for layer in model._flatten_layers())
    if batch is None and len(fixed) == 2 and is_float32 and not adapted:
        return model

    def plain(layer: Any) -> Any:
        configuration = {key: value for key, value in layer.get_config().items() if key not in LOW_RANK}
        return type(layer).from_config(configuration | ({"dtype": "float32"} if "dtype" in configuration else {}))

    height, width = (side or other for side, other in zip(size, wanted or size, strict=True))
    try:
        name = unused_name("image", operation_names(*model.outputs))
        image = keras.Input((height, width, channels), dtype="float32", name=name)
        fixed_model = keras.models.clone_model(model, image, clone_function=plain, recursive=True)
        _copy_weights(model, fixed_model)
        for layer in fixed_model._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # recompute the constants that it derives from its weights
    except Exception as error:  # the layers raise whatever the size leads to
        raise SourceError(
            f"{path} cannot take {height}x{width} images ({one_line(error)}): pass another --input-size"
        ) from error
    return fixed_model


def _copy_weights(model: keras.Model, copied: keras.Model) -> None:
    """Give a copy of a model its weights as Keras would save them: kernels with what LoRA adds to them."""
    for layer, copy in zip(model._flatten_layers(), copied._flatten_layers(), strict=True):
        stored: dict[str, Any] = {}
        layer.save_own_variables(stored)
        copy.load_own_variables(stored)
