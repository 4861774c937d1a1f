"""A model that Python holds -> what can be converted: a Keras file, or its graph as a SavedModel where code is its own.

A Keras file holds classes by name only, and is loaded in safe mode; a SavedModel holds what they compute. The code has
run in this process already, so no more is trusted than was before.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from convert.keras_models.hdf5 import one_line


def save_model(model: Any, folder: Path) -> tuple[Path, str]:
    """Save a model of Keras 3 or 2, or a `tf.Module`, in a folder; return where, and what was chosen if it matters.

    Raises:
        SourceError: TensorFlow cannot write its graph.
    """
    name = (getattr(model, "name", None) or type(model).__name__).replace("/", "_")
    if is_keras_own(model):
        path = folder / f"{name}.keras"
        model.save(path)
        return path, ""
    path = folder / name
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras tells what it saved
            _export(model, path)
    except Exception as error:  # whatever Keras or TensorFlow raises, or the model's own code
        raise SourceError(
            f"model {name} cannot be saved with its graph ({one_line(error)}): call it on a batch of images first"
        ) from error
    return path, f"{name} has code of its own: converted by its TensorFlow graph"


def is_keras_own(model: Any) -> bool:
    """Return whether a model of Keras 3 consists of Keras' own layers alone, so that a Keras file says all of it."""
    import keras

    if not isinstance(model, keras.Model) or getattr(model, "inputs", None) is None:
        return False
    parts = model._flatten_layers()
    return all(
        type(part).__module__.split(".")[0] == "keras" and not isinstance(part, keras.layers.Lambda) for part in parts
    )


def _export(model: Any, path: Path) -> None:
    if hasattr(model, "export"):
        model.export(str(path))
    else:
        import tensorflow as tf

        tf.saved_model.save(model, str(path))
