"""The network as its owner has it, for peers that start from Keras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from convert.keras_models.sources import ModelSource

SAVE = """
import sys
from convert.keras_models import loader
from convert.keras_models.sources import ModelSource
loader.load(ModelSource(sys.argv[1])).model.save(sys.argv[2])
"""

SAVE_LARGE = """
import sys
from pathlib import Path
from convert.keras_models.demo_weights import set_random_kernels, set_trained_parameters
from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
model = inception_resnet_v2((299, 299, 3), 10)
set_random_kernels(model)
set_trained_parameters(model, Path(sys.argv[1]))
model.save(sys.argv[2])
"""
LARGE_WEIGHTS = Path(__file__).with_name("demo_weights_299px.npz")


def save_large(path: Path) -> None:
    """Write the network for pictures of 299 pixels, see demo_weights_299px.md, as `save_keras` does."""
    subprocess.run([sys.executable, "-c", SAVE_LARGE, LARGE_WEIGHTS, path], check=True, capture_output=True)


def save_keras(source: ModelSource, path: Path) -> None:
    """Write a `.keras` file, in a process whose memory is returned."""
    subprocess.run([sys.executable, "-c", SAVE, source.model, path], check=True, capture_output=True)
