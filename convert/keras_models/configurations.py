"""Read the configuration of a whole Keras model, and check it before Keras makes a single object of it.

A file can name classes and carry Python code, and the legacy `.h5` reader has run such code in more than one release of
Keras.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras

from convert.errors import SourceError
from convert.keras_models.formats import is_zip
from convert.keras_models.hdf5 import one_line, open_hdf5, text
from convert.keras_models.legacy.configuration import check_residual_sum, stand_in
from convert.keras_models.legacy.values import LegacyError

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

INCEPTION_RESNET_V2 = {"block35_10_conv", "block17_20_conv", "block8_10_conv", "conv_7b"}
"""Layers by which keras.applications' Inception-ResNet-V2 is known."""


@dataclass(frozen=True)
class Configuration:
    """What a file says about the model in it.

    Attributes:
        content: the model's configuration, without that of its training.
        keras_version: that wrote it, such as "2.12.0"; "" if the file does not say.
        container: "HDF5" or "zip".
    """

    content: Any
    keras_version: str
    container: str

    @property
    def is_keras_2(self) -> bool:
        """Return whether a Keras before 3 wrote it; the first ones did not say their version."""
        return self.keras_version.split(".")[0] in ("", "0", "1", "2")

    def recognized(self, path: Path, name: str) -> str:
        """Return one line that says what the file is; `name` is that of the model."""
        layers = {str(entry.get("config", {}).get("name")) for entry in class_entries(self.content) if _has_name(entry)}
        network = "keras.applications' InceptionResNetV2" if layers >= INCEPTION_RESNET_V2 else name
        return f"{path.name}: Keras {self.keras_version or '1'} model ({self.container}), {network}"


def read_configuration(path: Path) -> Configuration:
    """Read what a whole model's file says about it.

    Raises:
        SourceError: it is damaged, no whole model, or refers to other files.
    """
    written, version, container = _read_zip(path) if is_zip(path) else _read_hdf5(path)
    try:
        content = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} is damaged: its model configuration is not JSON ({one_line(error)}): save it again"
        ) from error
    if isinstance(content, dict):
        # The model is not compiled, so a custom loss does no harm.
        content = {key: value for key, value in content.items() if key != "compile_config"}
    return Configuration(content, version, container)


def check_configuration(configuration: Any, path: Path) -> None:
    """Refuse a configuration that names anything but Keras' own layers."""
    for entry in class_entries(configuration):
        _check_class(entry, path)


@contextmanager
def open_weights_in(path: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file with the weights of a whole model: the file, or the member of an archive."""
    if not is_zip(path):
        with open_hdf5(path) as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        if "model.weights.h5" not in archive.namelist():
            raise SourceError(f"{path} holds a model without its weights: save it with model.save('NAME.keras')")
        content = io.BytesIO(archive.read("model.weights.h5"))
    with open_hdf5(path, content) as file:
        yield file


def _read_hdf5(path: Path) -> tuple[str, str, str]:
    with open_hdf5(path) as file:
        if "model_config" not in file.attrs:
            raise SourceError(
                f"{path} holds weights without a model: pass --weights {path} --classes N for the article's "
                "network, or save the whole model as NAME.keras"
            )
        return text(file.attrs["model_config"]), text(file.attrs.get("keras_version", "")), "HDF5"


def _read_zip(path: Path) -> tuple[str, str, str]:
    """Return configuration and version; check the weights for links as well."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > MAXIMUM_CONFIGURATION_BYTES:
                raise SourceError(
                    f"{path} is not a Keras model: its config.json is over {MAXIMUM_CONFIGURATION_BYTES} B; save it "
                    "with model.save('NAME.keras')"
                )
            if "model.weights.h5" in archive.namelist():
                _check_expansion(archive.getinfo("model.weights.h5"), path)
                with open_hdf5(path, io.BytesIO(archive.read("model.weights.h5"))):
                    pass
            return archive.read("config.json").decode("utf-8", "replace"), _version(archive), "zip"
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(
            f"{path} is not a Keras model or is damaged ({one_line(error)}): save it with model.save('NAME.keras')"
        ) from error


def _version(archive: zipfile.ZipFile) -> str:
    """Return the version in the archive's metadata; Keras 3's, whose reader is the stricter, where there is none."""
    if "metadata.json" not in archive.namelist() or archive.getinfo("metadata.json").file_size > 2**20:
        return str(keras.__version__)
    try:
        return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return str(keras.__version__)


def _check_expansion(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an archive member that inflates a hundredfold: weights hardly compress, so it is meant to fill memory."""
    if member.file_size > MAXIMUM_EXPANSION * path.stat().st_size:
        raise SourceError(
            f"{path} is not a Keras model: its {member.filename} claims {member.file_size:,} bytes, over "
            f"{MAXIMUM_EXPANSION} times the file; save it with model.save('NAME.keras')"
        )


def class_entries(node: Any) -> Iterator[dict[str, Any]]:
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


def _has_name(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("config"), dict)


def _check_class(entry: dict[str, Any], path: Path) -> None:
    name, module = entry["class_name"], entry.get("module")
    if name in CODE:
        raise SourceError(
            f"{path} has a {name.strip('_')} layer{_layer_name(entry)}, which is code in the file, and models are "
            "loaded in safe mode: replace it with Keras' own layers"
        )
    if name in VALUES or (name == "function" and module in (None, "builtins")):
        return
    registered = _registered(entry)
    is_own = _is_keras_module(module) if module else _is_keras_name(name) and registered is None
    if name.rpartition(">")[2] == "CustomScaleLayer":
        _check_residual_sum(
            entry, (is_own and "module" in entry) or (name == "CustomScaleLayer" and "module" not in entry), path
        )
    if not is_own:
        shown = f"{module}.{name}" if module else registered or name
        raise SourceError(
            f"{path} has a layer{_layer_name(entry)} of class {shown}, which is not Keras' own, and models are loaded "
            "in safe mode: use Keras' own layers, or pass an article-trained network as --weights FILE --classes N"
        )


def _registered(entry: dict[str, Any]) -> str | None:
    """Return the name with a package, PACKAGE>CLASS, under which a class is registered that has no module."""
    name = entry.get("registered_name")
    return name if "module" in entry and entry["module"] is None and isinstance(name, str) and ">" in name else None


def _check_residual_sum(entry: dict[str, Any], is_own: bool, path: Path) -> None:
    """Refuse a home-made layer with the name of the residual sum of keras.applications' Inception-ResNet-V2."""
    layer, written = str(entry.get("name")), str(entry.get("registered_name") or entry["class_name"])
    inputs = [_tensors(node) for node in entry.get("inbound_nodes") or []]
    try:
        if not is_own:
            raise stand_in(layer, written, "")
        check_residual_sum(layer, "Custom>CustomScaleLayer", inputs)
    except LegacyError as error:
        raise SourceError(f"{path} {error}") from error


def _tensors(node: Any) -> int:
    """Return on how many tensors a layer is called; the older of the two ways to write it lists nothing else."""
    if isinstance(node, list):
        return len(node)
    return sum(entry["class_name"] == "__keras_tensor__" for entry in class_entries(node))


def _layer_name(entry: dict[str, Any]) -> str:
    name = entry.get("name") or (entry["config"].get("name") if _has_name(entry) else None)
    return f" {name}" if isinstance(name, str) else ""


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
        or name in application_layers()
        or any(inspect.isclass(getattr(place, name, None)) for place in places)
    )


def application_layers() -> dict[str, type]:
    """Return the layer classes that `keras.applications` models define: CustomScaleLayer, LayerScale, ..."""
    builders = (keras.applications.InceptionResNetV2, keras.applications.ConvNeXtTiny)
    modules = [importlib.import_module(builder.__module__) for builder in builders]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, keras.layers.Layer)
    }
