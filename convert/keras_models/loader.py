"""Load a network: the demo, the published ImageNet one, a known one with a weights file, or any Keras model."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from convert.errors import SourceError
from convert.keras_models import demo_weights, sources
from convert.keras_models.configurations import read_configuration
from convert.keras_models.hdf5 import one_line
from convert.keras_models.heads import with_head
from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
from convert.keras_models.model_files import load_classifier
from convert.keras_models.sources import (
    ARTICLE,
    DEMO,
    IMAGENET,
    KERAS_APPLICATIONS,
    MODEL_FILE,
    WEIGHTS_FILE,
    ModelSource,
)
from convert.keras_models.weights.architectures import ARCHITECTURES, fill
from convert.keras_models.weights.weight_files import open_weights
from edge_runtime.hashing import file_sha256
from edge_runtime.labels import told_apart
from edge_runtime.specs import SOFTMAX

DEFAULT_INPUT_SIZE = (299, 299)
CONNECTION_TIMEOUT_S = 20

# URL and MD5, from keras.applications.inception_resnet_v2 and keras.applications.imagenet_utils.
IMAGENET_WEIGHTS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/"
    "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
    "e693bd0210a403b3192acc6073ad2e96",
)
IMAGENET_CLASS_INDEX = (
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
)


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights.

    Attributes:
        model: preprocessed float32 images (N, height, width, 3) to probabilities (N, classes); it ends in a softmax
            or, if its labels are independent, in sigmoids.
        architecture: the name of the network; the Keras model's for a user's own.
        labels: a name for each class, all different, where they are known: demo and imagenet.
        weights_sha256: hexadecimal SHA-256 of the file that the weights came from.
        recognized: what the user's file turned out to be, to show to the user; "" for our own.
        head: "softmax", "independent", or "binary" for one sigmoid unit that became a softmax, see `heads`.
    """

    model: keras.Model
    architecture: str
    labels: tuple[str, ...] | None
    weights_sha256: str
    recognized: str = ""
    head: str = SOFTMAX


def load(source: ModelSource) -> LoadedModel:
    """Load the network that `source` describes, which is checked first.

    Raises:
        SourceError: a file is missing, damaged, unsafe or does not fit, a download failed, or the input size is one
            the network cannot take.
    """
    source.check()
    loaded = LOADERS[source.origin](source)
    headed = with_head(loaded.model, source.file or source.name, source.labels)
    return replace(loaded, model=headed.model, head=headed.head)


def _load_demo(source: ModelSource) -> LoadedModel:
    path = sources.DEMO_WEIGHTS
    if not path.exists():
        raise SourceError(f"the demo's weights {path} are missing: reinstall irv2-edge")
    size = source.size or (demo_weights.stored_size(path),) * 2
    model = inception_resnet_v2((*size, 3), len(demo_weights.LABELS))
    demo_weights.set_random_kernels(model)
    demo_weights.set_trained_parameters(model, path)
    return LoadedModel(model, ARCHITECTURES[ARTICLE].name, demo_weights.LABELS, file_sha256(path))


def _load_weights_file(source: ModelSource) -> LoadedModel:
    assert source.file is not None
    with open_weights(source.file) as stored:
        filled = fill(stored, source.size or DEFAULT_INPUT_SIZE, source.architecture, source.classes)
    return LoadedModel(filled.model, filled.architecture, filled.labels, source.sha256() or "", filled.recognized)


def _load_imagenet(source: ModelSource) -> LoadedModel:
    size = source.size or DEFAULT_INPUT_SIZE
    labels = _imagenet_labels(_downloaded(*IMAGENET_CLASS_INDEX))
    path = _downloaded(*IMAGENET_WEIGHTS)
    # Keras takes weights="imagenet" at 299 pixels only, but its file at any size: the network ends in a global average.
    model = keras.applications.InceptionResNetV2(weights=str(path), input_shape=(*size, 3))
    return LoadedModel(model, ARCHITECTURES[KERAS_APPLICATIONS].name, labels, file_sha256(path))


def _load_model_file(source: ModelSource) -> LoadedModel:
    path = Path(source.model)
    with ThreadPoolExecutor(1) as meanwhile:
        sha256 = meanwhile.submit(file_sha256, path)
        configuration = read_configuration(path)
        model = load_classifier(path, configuration, source.input_size)
        return LoadedModel(model, model.name, None, sha256.result(), configuration.recognized(path, model.name))


LOADERS: dict[str, Callable[[ModelSource], LoadedModel]] = {
    DEMO: _load_demo,
    IMAGENET: _load_imagenet,
    WEIGHTS_FILE: _load_weights_file,
    MODEL_FILE: _load_model_file,
}
"""Where a network can come from (see `ModelSource.origin`), and what loads it."""


def _downloaded(url: str, md5: str) -> Path:
    """Return the file at `url`, from Keras' cache or the network, checked against its MD5."""
    name = url.rpartition("/")[2]
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECTION_TIMEOUT_S)  # Keras downloads without one
    try:
        return Path(keras.utils.get_file(name, url, cache_subdir="models", file_hash=md5))
    except Exception as error:  # Keras raises a plain Exception for a failed download
        raise SourceError(
            f"--model imagenet: {name} could not be downloaded ({one_line(error)}): check the network connection, or "
            "pass --model PATH or --weights FILE"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _imagenet_labels(path: Path) -> tuple[str, ...]:
    """Return the 1,000 names in the order of the network's classes, all different.

    Two pairs of classes share a name (crane the bird and the machine, two kinds of maillot): their WordNet numbers are
    added.
    """
    index = json.loads(path.read_text("utf-8"))
    entries = [index[str(number)] for number in range(len(index))]
    return told_apart([name for _, name in entries], [wordnet for wordnet, _ in entries])
