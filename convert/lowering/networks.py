"""Networks to lower, by where they come from: what the worker asks of each, whatever holds it. Runs in the worker."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any, Protocol

from convert.images.feeding import feeding
from convert.keras_models.front.stripping import strip
from convert.keras_models.loader import LoadedModel, load
from convert.keras_models.sources import DEMO, IMAGENET, MODEL_FILE, SAVED_MODEL, TFLITE, WEIGHTS_FILE, ModelSource
from convert.lowering.batch_norm_folding import fold_batch_norms
from convert.lowering.graphs.saved_model import SavedModelNetwork
from convert.lowering.graphs.tflite_source import TfliteNetwork
from convert.lowering.keras_comparison import keras_logits
from convert.lowering.translate import UntranslatableError, translate
from edge_runtime import InputSpec
from edge_runtime.arrays import Array


class Network(Protocol):
    """A float network that can be lowered.

    Attributes:
        architecture, labels, weights_sha256, recognized: see `convert.keras_models.loader.LoadedModel`.
        head, front, slow_layers: see `convert.lowering.lower.LoweredModel`; `slow_layers` after `to_tflite`.
        classes: number of probabilities.
    """

    architecture: str
    labels: tuple[str, ...] | None
    weights_sha256: str
    recognized: str
    head: str
    front: tuple[str, ...]
    slow_layers: tuple[str, ...]
    classes: int

    def spec(self, preprocessing: str | None) -> InputSpec:
        """Return how images are prepared: as `preprocessing` (convention or file) says, or the network's own file.

        Raises:
            SourceError: neither says it, or the two contradict each other.
        """

    def to_tflite(self, scratch: Path, report: Callable[[str], object]) -> bytes:
        """Return a float `.tflite` of static batch 1, signature `serving_default`, image -> probabilities.

        `scratch` is an existing folder; `report` is told the name of each stage that begins.
        """

    def logits(self, images: Array) -> Array:
        """Return what the network itself, not its `.tflite`, answers before its last activation, (N, classes).

        `images` are float32 (N, height, width, channels), prepared as `spec` says.
        """


class KerasNetwork:
    """A network that Keras has loaded."""

    def __init__(self, source: ModelSource) -> None:
        self._file, self._loaded = source.file, load(source)
        loaded: LoadedModel = self._loaded
        self.architecture, self.labels, self.recognized = loaded.architecture, loaded.labels, loaded.recognized
        self.weights_sha256, self.classes = loaded.weights_sha256, int(loaded.model.output_shape[-1])
        self._front = strip(loaded.model)
        self.head, self.front = loaded.head, self._front.recognized
        self.slow_layers: tuple[str, ...] = ()

    def spec(self, preprocessing: str | None) -> InputSpec:
        """Return how images are prepared; see `Network.spec`."""
        return feeding(self._front.scaling, preprocessing, self._file, self._front.model.input_shape[1:])

    def to_tflite(self, scratch: Path, report: Callable[[str], object]) -> bytes:
        """Translate the layers one by one, or leave the network to TFLiteConverter; see `Network.to_tflite`."""
        report("translating to TFLite")
        try:
            return translate(self._front.model)
        except UntranslatableError as reason:
            self.slow_layers = (str(reason),)
        report(f"{self.slow_layers[0]}: through TFLiteConverter")
        return _convert(fold_batch_norms(self._front.model), scratch)

    def logits(self, images: Array) -> Array:
        """Return the answers of Keras, whose own front gets what it expects: folding it is checked, too."""
        return keras_logits(self._loaded.model, self._front.scaling.undone(images))


NETWORKS: dict[str, Callable[[ModelSource], Network]] = {
    DEMO: KerasNetwork,
    IMAGENET: KerasNetwork,
    WEIGHTS_FILE: KerasNetwork,
    MODEL_FILE: KerasNetwork,
    SAVED_MODEL: SavedModelNetwork,
    TFLITE: TfliteNetwork,
}
"""Where a network can come from (see `ModelSource.origin`), and what opens it."""


def open_network(source: ModelSource) -> Network:
    """Load the network that `source` describes; raise `SourceError` if it cannot be."""
    return NETWORKS[source.origin](source)


def _convert(model: Any, scratch: Path) -> bytes:
    """Return a float flatbuffer of static batch 1, by way of a SavedModel: several times faster than from Keras."""
    import keras
    import tensorflow as tf

    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix="saved_model_", ignore_cleanup_errors=True) as folder,
        chdir(scratch),  # TensorFlow takes relative paths where an absolute one is not UTF-8
    ):
        name = Path(folder).name
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serving_default",
            lambda image: {"probabilities": model(image, training=False)},
            input_signature=[tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")],
        )
        archive.write_out(name, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(name, signature_keys=["serving_default"])
        return bytes(converter.convert())
