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


def save_keras(source: ModelSource, path: Path) -> None:
    """Write a `.keras` file, in a process whose memory is returned."""
    subprocess.run([sys.executable, "-c", SAVE, source.model, path], check=True, capture_output=True)
