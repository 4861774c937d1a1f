"""Where weights come from: the demo, a file for the article's network, ImageNet's."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from convert.keras_models import demo_weights, loader, sources
from convert.keras_models.inception_resnet_v2 import inception_resnet_v2, unit_names
from convert.keras_models.sources import ModelSource
from convert.keras_models.weights import architectures
from tests.convert.article import randomise
from tests.convert.keras_models.loading import SMALL_NETWORK, article_network, error_of, our_network, predict


@pytest.fixture
def small_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load` builds a small network where it builds the full one."""
    for module in (loader, architectures):
        monkeypatch.setattr(module, "inception_resnet_v2", partial(inception_resnet_v2, **SMALL_NETWORK))


@pytest.mark.usefixtures("small_builder")
def test_load_weights(saved: Path) -> None:
    loaded = loader.load(ModelSource(weights=saved, classes=10, input_size=75))
    assert loaded.architecture == "inception_resnet_v2 (article)"
    assert loaded.labels is None
    assert loaded.weights_sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model), predict(article_network()), atol=1e-6)


@pytest.mark.usefixtures("small_builder")
def test_load_weights_at_the_architecture_s_size(saved: Path) -> None:
    assert loader.load(ModelSource(weights=saved, classes=10)).model.input_shape == (None, 299, 299, 3)


def test_load_weights_at_too_small_a_size(saved: Path) -> None:
    message = error_of(lambda: loader.load(ModelSource(weights=saved, classes=10, input_size=74)))
    assert message == "--input-size 74 is too small: Inception-ResNet-V2 needs at least 75 pixels"


def test_load_weights_of_one_class(saved: Path) -> None:
    message = error_of(lambda: loader.load(ModelSource(weights=saved, classes=1)))
    assert message == "--classes 1 is too few: a classifier has at least 2"


def test_load_checks_the_source_first(tmp_path: Path) -> None:
    assert "does not exist" in error_of(lambda: loader.load(ModelSource(model=str(tmp_path / "absent.keras"))))


@pytest.fixture
def demo_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[keras.Model, Path]:
    """A small network with the demo's kernels and random batch-normalizations, stored the demo's way."""
    model = randomise(our_network())
    demo_weights.set_random_kernels(model)
    path = tmp_path / "demo_weights.npz"
    arrays: dict[str, Any] = {"size": 75}
    for name in unit_names(model):
        layer = model.get_layer(f"{name}_bn")
        for key in ("gamma", "beta", "moving_mean", "moving_variance"):
            arrays[f"{name}/{key}"] = np.asarray(getattr(layer, key))
    arrays["dense/kernel"], arrays["dense/bias"] = model.get_layer("dense").get_weights()
    np.savez(path, **arrays)
    monkeypatch.setattr(sources, "DEMO_WEIGHTS", path)
    return model, path


@pytest.mark.usefixtures("small_builder")
def test_load_demo(demo_file: tuple[keras.Model, Path]) -> None:
    model, path = demo_file
    loaded = loader.load(ModelSource())
    assert loaded.architecture == "inception_resnet_v2 (article)"
    assert loaded.labels is not None
    assert len(loaded.labels) == 10
    assert loaded.labels[0] == "T-shirt/top"
    assert loaded.labels[9] == "Ankle boot"
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model), predict(model), atol=1e-6)


@pytest.mark.usefixtures("small_builder", "demo_file")
def test_load_demo_at_another_size() -> None:
    assert loader.load(ModelSource(input_size=91)).model.input_shape == (None, 91, 91, 3)


def test_demo_weights_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "DEMO_WEIGHTS", tmp_path / "absent.npz")
    message = error_of(lambda: loader.load(ModelSource()))
    assert message == f"the demo's weights {tmp_path / 'absent.npz'} are missing: reinstall irv2-edge"


# --- load: imagenet ----------------------------------------------------------------------------------------------


@pytest.fixture
def keras_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty download cache."""
    monkeypatch.setattr(keras.utils, "get_file", partial(keras.utils.get_file, cache_dir=str(tmp_path / "cache")))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its URL and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", folder
        served.shutdown()


def serve(server: tuple[str, Path], name: str, content: bytes) -> tuple[str, str]:
    """Publish `content`: its URL and MD5, as `convert.keras_models.loader` keeps them."""
    url, folder = server
    (folder / name).write_bytes(content)
    return f"{url}/{name}", hashlib.md5(content).hexdigest()


CLASS_INDEX = {str(number): [f"n{number:08}", f"name_{number}"] for number in range(1000)}
CLASS_INDEX |= {"134": ["n02012849", "crane"], "517": ["n03126707", "crane"]}


@pytest.mark.usefixtures("keras_home")
def test_imagenet_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "IMAGENET_CLASS_INDEX", ("http://127.0.0.1:1/imagenet_class_index.json", "0" * 32))
    message = error_of(lambda: loader.load(ModelSource(model="imagenet")))
    assert message.startswith(
        "--model imagenet: imagenet_class_index.json could not be downloaded (URL fetch failure on"
    )
    assert message.endswith("): check the network connection, or pass --model PATH or --weights FILE")


@pytest.mark.usefixtures("keras_home")
def test_imagenet_over_a_network_that_swallows_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/imagenet_class_index.json"
        monkeypatch.setattr(loader, "IMAGENET_CLASS_INDEX", (url, "0" * 32))
        monkeypatch.setattr(loader, "CONNECTION_TIMEOUT_S", 0.5)
        started = time.monotonic()
        assert "timed out" in error_of(lambda: loader.load(ModelSource(model="imagenet")))
    assert time.monotonic() - started < 10
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("keras_home")
def test_imagenet_download_that_is_not_the_published_file(
    monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    url, _ = serve(server, "imagenet_class_index.json", b"{}")
    monkeypatch.setattr(loader, "IMAGENET_CLASS_INDEX", (url, "0" * 32))
    assert "Incomplete or corrupted file detected" in error_of(lambda: loader.load(ModelSource(model="imagenet")))


def test_imagenet_at_too_small_a_size() -> None:
    message = error_of(lambda: loader.load(ModelSource(model="imagenet", input_size=64)))
    assert message == "--input-size 64 is too small: Inception-ResNet-V2 needs at least 75 pixels"


@pytest.mark.slow
@pytest.mark.usefixtures("keras_home")
def test_load_imagenet(monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path], tmp_path: Path) -> None:
    theirs = keras.applications.InceptionResNetV2(weights=None, input_shape=(75, 75, 3))
    theirs.save(tmp_path / "published.h5")
    content = (tmp_path / "published.h5").read_bytes()
    monkeypatch.setattr(loader, "IMAGENET_WEIGHTS", serve(server, "published_weights.h5", content))
    index = serve(server, "imagenet_class_index.json", json.dumps(CLASS_INDEX).encode())
    monkeypatch.setattr(loader, "IMAGENET_CLASS_INDEX", index)

    loaded = loader.load(ModelSource(model="imagenet", input_size=75))

    assert loaded.architecture == "keras.applications InceptionResNetV2"
    assert loaded.labels is not None
    assert len(set(loaded.labels)) == 1000
    assert loaded.labels[7] == "name_7"
    assert (loaded.labels[134], loaded.labels[517]) == ("crane (n02012849)", "crane (n03126707)")
    assert loaded.weights_sha256 == hashlib.sha256(content).hexdigest()
    np.testing.assert_allclose(predict(loaded.model), predict(theirs), atol=1e-6)
