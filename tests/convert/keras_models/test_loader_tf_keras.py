"""Weights saved by tf.keras 2, the Keras of the article's time, in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
from convert.keras_models.weight_files import set_stored_weights
from tests.convert import article
from tests.convert.article import SMALL, random_images

pytestmark = pytest.mark.slow

PYTHON_VARIABLE = "IRV2_EDGE_TF_KERAS_PYTHON"
"""A Python that has tensorflow and tf-keras, to skip making one."""


@pytest.fixture(scope="session")
def tf_keras_python(request: pytest.FixtureRequest) -> str:
    """A Python in which `tf.keras` is Keras 2; made once and kept in pytest's cache."""
    if PYTHON_VARIABLE in os.environ:
        return os.environ[PYTHON_VARIABLE]
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("tf_keras")
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "tensorflow", "tf-keras"], check=True)
        done.touch()
    return str(python)


def run_keras_2(python: str, *arguments: str) -> None:
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run([python, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]


@pytest.mark.parametrize("name", ["mine.h5", "mine.weights.h5"])
@pytest.mark.parametrize("naming", ["--named", "--unnamed"])
@pytest.mark.parametrize("structure", ["--article", "--plain"])
def test_keras_2_weights_predict_as_keras_2_did(
    tf_keras_python: str, name: str, naming: str, structure: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    run_keras_2(tf_keras_python, str(article.__file__), str(path), naming, structure)
    ours = inception_resnet_v2(
        (SMALL["size"], SMALL["size"], 3), SMALL["classes"], repeats=SMALL["repeats"], width=SMALL["width"]
    )
    set_stored_weights(ours, path)
    theirs = np.load(f"{path}.npy")
    np.testing.assert_allclose(ours.predict(random_images(SMALL["size"]), verbose=0), theirs, atol=1e-5)
