"""Networks so small that each answer can be told by hand, pictures, and stored answers; no TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import save_colour_pictures
from tests.convert.drift.commands import gate
from tests.edge_runtime.tiny_model import tiny_artifact, tiny_flatbuffer


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of each of three colours."""
    return save_colour_pictures(tmp_path_factory.mktemp("drift") / "images", 60, seed=3)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names the colour of a picture, always right."""
    return tiny_artifact().write(tmp_path_factory.mktemp("network") / "float.tflite")


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the label of red and blue exchanged."""
    artifact = tiny_artifact()
    liar = replace(artifact, labels=b"blue\ngreen\nred\n").signed()
    return liar.write(tmp_path_factory.mktemp("worse") / "worse.tflite")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The network without a card."""
    path = tmp_path / "bare.tflite"
    path.write_bytes(tiny_flatbuffer())
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red\ngreen\nblue\n")
    return path


@pytest.fixture(scope="module")
def reference(network: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's answers, stored without a candidate."""
    path = tmp_path_factory.mktemp("stored") / "ref.npz"
    done = gate("--save-reference", path, "--reference", network, "--images", images)
    assert done.exit_code == 0, done.output
    return path
