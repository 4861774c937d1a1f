"""Weights saved by tf.keras 2, the Keras of the article's time, installed beside the Keras of these tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.convert import article
from tests.convert.article import NAMINGS, STRUCTURES, SUFFIXES
from tests.convert.keras_models.loading import blank_network, predict, set_stored_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def tf_keras_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the tf-keras of this TensorFlow's version; installed once and kept in pytest's cache."""
    release = ".".join(tf.__version__.split(".")[:2])
    assert request.config.cache is not None
    folder = request.config.cache.mkdir(f"tf_keras_{release}")
    if not (folder / "installed").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps"]
        subprocess.run([*pip, "--target", folder, f"tf-keras=={release}.*"], check=True)
        (folder / "installed").touch()
    return folder


@pytest.fixture(scope="module")
def saved_by_keras_2(tf_keras_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights files and predictions, all made by one process in which `tf.keras` is Keras 2."""
    folder = tmp_path_factory.mktemp("keras_2")
    environment = os.environ | {
        "PYTHONPATH": str(tf_keras_folder),
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, str(article.__file__), str(folder)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return folder


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_keras_2_weights_predict_as_keras_2_did(
    saved_by_keras_2: Path, suffix: str, naming: str, structure: str
) -> None:
    path = saved_by_keras_2 / f"{structure}-{naming}{suffix}"
    ours = blank_network()
    set_stored_weights(ours, path)
    np.testing.assert_allclose(predict(ours), np.load(f"{path}.npy"), atol=1e-5)
