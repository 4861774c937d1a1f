"""Load any Keras image classifier: float32 images of one size to probabilities, ending in a softmax.

The configuration in the file is read and checked before Keras makes a single object of it: a file can name classes
and carry Python code, and the legacy `.h5` reader has run such code in more than one release of Keras.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from convert.errors import SourceError
from convert.keras_models.front import resized_to
from convert.keras_models.hdf5 import one_line, open_hdf5, text
from convert.keras_models.sources import Size, height_and_width, size_text
from convert.keras_models.walk import final_activation
from edge_runtime.specs import CHANNELS

MAXIMUM_CONFIGURATION_BYTES = 64 * 2**20
MAXIMUM_EXPANSION = 100
KERAS_MODULES = {
    *("activations", "applications", "constraints", "dtype_policies", "engine", "initializers", "layers"),
    *("losses", "metrics", "models", "ops", "optimizers", "quantizers", "random", "regularizers"),
}
"""The parts of Keras that a configuration may take classes and functions from: those that networks are built of."""

VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
"""Class names under which Keras stores plain values."""

CODE = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
"""Keras' own classes that run code or graphs out of the file."""


def load_classifier(path: Path, input_size: Size | None = None) -> keras.Model:
    """Load a `.keras` or `.h5` model in safe mode.

    Returns:
        A model of float32 images (N, height, width, 1 or 3) to probabilities (N, classes); a softmax is added to one
        that ends in logits. One that takes images of any size needs an `input_size`, its height and width.

    Raises:
        SourceError: the file is damaged or not a Keras model, holds code or classes that are not Keras' own, is not
            a classifier of RGB or grey images, or takes images of another size.
    """
    _check_configuration(path)
    try:
        with keras.saving.custom_object_scope(_application_layers()):
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the damage leads to
        raise SourceError(f"{path} cannot be loaded by Keras {keras.__version__} ({one_line(error)})") from error
    _check_classifier(model, path)
    return _ending_in_softmax(_on_images_of_one_size(model, input_size, path), path)


def _check_configuration(path: Path) -> None:
    """Refuse a file whose configuration names anything but Keras' own layers."""
    try:
        configuration = json.loads(_configuration(path))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is damaged: its model configuration is not JSON ({one_line(error)})") from error
    if isinstance(configuration, dict):
        # The model is not compiled, so a custom loss does no harm.
        configuration = {key: value for key, value in configuration.items() if key != "compile_config"}
    for entry in _class_entries(configuration):
        _check_class(entry, path)


def _configuration(path: Path) -> str:
    """Return the model configuration in a file, as JSON; check the weights of a `.keras` file for links as well."""
    if path.suffix.lower() != ".keras":
        with open_hdf5(path) as file:
            if "model_config" not in file.attrs:
                raise SourceError(
                    f"{path} holds weights without a model: pass --weights {path} --classes N for the article's "
                    "network, or save the whole model as NAME.keras"
                )
            return text(file.attrs["model_config"])
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > MAXIMUM_CONFIGURATION_BYTES:
                raise SourceError(
                    f"{path} is not a Keras model: its config.json is over {MAXIMUM_CONFIGURATION_BYTES} B"
                )
            if "model.weights.h5" in archive.namelist():
                _check_expansion(archive.getinfo("model.weights.h5"), path)
                with open_hdf5(path, io.BytesIO(archive.read("model.weights.h5"))):
                    pass
            return archive.read("config.json").decode("utf-8", "replace")
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(
            f"{path} is not a Keras model or is damaged ({one_line(error)}): save it with model.save('NAME.keras')"
        ) from error


def _check_expansion(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an archive member that inflates a hundredfold: weights hardly compress, so it is meant to fill memory."""
    if member.file_size > MAXIMUM_EXPANSION * path.stat().st_size:
        raise SourceError(
            f"{path} is not a Keras model: its {member.filename} claims {member.file_size:,} bytes, over "
            f"{MAXIMUM_EXPANSION} times the file; save it with model.save('NAME.keras')"
        )


def _class_entries(node: Any) -> Iterator[dict[str, Any]]:
    """Yield all dictionaries of a configuration from which Keras would make an object."""
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("class_name"), str):
                yield node
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def _check_class(entry: dict[str, Any], path: Path) -> None:
    name, module = entry["class_name"], entry.get("module")
    if name in CODE:
        raise SourceError(
            f"{path} has a {name.strip('_')} layer, which is code in the file, and models are loaded in safe mode: "
            "replace it with Keras' own layers"
        )
    if name in VALUES or (name == "function" and module in (None, "builtins")):
        return
    if not (_is_keras_module(module) if module else _is_keras_name(name)):
        shown = f"{module}.{name}" if module else name
        raise SourceError(
            f"{path} has a layer of class {shown}, which is not Keras' own, and models are loaded in safe mode: use "
            "Keras' own layers, or pass an article-trained network as --weights FILE --classes N"
        )


def _is_keras_module(module: Any) -> bool:
    parts = str(module).split(".")
    if parts[0] != "keras":
        return False
    inner = [part for part in parts[1:] if part not in ("src", "api", "_tf_keras", "keras")]
    return not inner or inner[0] in KERAS_MODULES


def _is_keras_name(name: str) -> bool:
    """Return whether Keras has a class of this name: legacy configurations leave out its module."""
    places = (keras.layers, keras.models, keras.initializers, keras.regularizers, keras.constraints)
    return (
        name in ("Functional", "DTypePolicy")
        or name in _application_layers()
        or any(inspect.isclass(getattr(place, name, None)) for place in places)
    )


def _application_layers() -> dict[str, type]:
    """Return the layer classes that `keras.applications` models define: CustomScaleLayer, LayerScale, ..."""
    builders = (keras.applications.InceptionResNetV2, keras.applications.ConvNeXtTiny)
    modules = [importlib.import_module(builder.__module__) for builder in builders]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, keras.layers.Layer)
    }


def _check_classifier(model: keras.Model, path: Path) -> None:
    """Refuse a model that is not one RGB image in, one vector of classes out."""
    if not model.built or not getattr(model, "inputs", None):
        raise SourceError(f"{path} was saved before it had an input shape: call the model on an image, then save it")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise SourceError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: a classifier has one of each"
        )
    taken, given = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if len(taken) != 3:
        raise SourceError(f"{path} takes inputs of shape {taken}: a classifier of images takes (height, width, 3)")
    if taken[2] not in CHANNELS:
        raise SourceError(
            f"{path} takes images of shape {taken}: only RGB, (height, width, 3), and grey, (height, width, 1), are "
            "supported"
        )
    if len(given) != 1 or given[0] is None:
        raise SourceError(f"{path} has outputs of shape {given}: a classifier has one number per class, (classes,)")
    if given[0] < 2:
        raise SourceError(f"{path} has {given[0]} class: a classifier has at least 2")


def _on_images_of_one_size(model: keras.Model, input_size: Size | None, path: Path) -> keras.Model:
    """Return the same model on float32 images of a fixed size, in single precision throughout."""
    batch, *size, channels = model.inputs[0].shape
    fixed = [side for side in size if side is not None]
    wanted = height_and_width(input_size) if input_size is not None or len(fixed) == 2 else resized_to(model)
    if input_size is not None and any(
        side not in (None, other) for side, other in zip(size, wanted or (), strict=True)
    ):
        shown = "x".join("any" if side is None else str(side) for side in size)
        raise SourceError(
            f"--input-size {size_text(input_size)} differs from {shown}, the input size of {path}: leave it out"
        )
    if wanted is None and len(fixed) < 2:
        raise SourceError(f"{path} takes images of any size: pass --input-size N or HxW, the size it was trained at")
    is_float32 = model.inputs[0].dtype == model.outputs[0].dtype == "float32" and all(
        getattr(layer, "compute_dtype", "float32") == "float32" for layer in model.layers
    )
    if batch is None and len(fixed) == 2 and is_float32:
        return model

    def in_float32(layer: Any) -> Any:
        configuration = layer.get_config()
        return type(layer).from_config(configuration | ({"dtype": "float32"} if "dtype" in configuration else {}))

    height, width = (side or other for side, other in zip(size, wanted or size, strict=True))
    try:
        image = keras.Input((height, width, channels), dtype="float32", name="image")
        fixed_model = keras.models.clone_model(model, image, clone_function=in_float32, recursive=True)
        fixed_model.set_weights(model.get_weights())
        for layer in fixed_model._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # recompute the constants that it derives from its weights
    except Exception as error:  # the layers raise whatever the size leads to
        raise SourceError(f"{path} cannot take {height}x{width} images ({one_line(error)})") from error
    return fixed_model


def _ending_in_softmax(model: keras.Model, path: Path) -> keras.Model:
    """Return the same layers as a plain graph of one tensor to one tensor that ends in a softmax."""
    output = model.outputs[0]
    activation = final_activation(output)
    if activation not in ("softmax", "linear"):
        raise SourceError(
            f"{path} ends in {activation}: a classifier ends in a softmax or in logits; end it in "
            "keras.layers.Softmax() and save it again"
        )
    if activation == "linear":
        output = keras.layers.Softmax(dtype="float32", name="probabilities")(output)
    return keras.Model(model.inputs[0], output, name=model.name)
