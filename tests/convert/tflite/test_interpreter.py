"""LiteRT on the host: what it must not say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_an_interpreter_says_nothing_about_its_delegate(network_of_three_classes: bytes, tmp_path: Path) -> None:
    """Or `irv2-convert --quiet` prints more than its verdict, when all that needs TensorFlow comes from the cache."""
    path = tmp_path / "three.tflite"
    path.write_bytes(network_of_three_classes)
    opened = f"open_interpreter(open({str(path)!r}, 'rb').read(), 1)"
    code = f"from convert.tflite.interpreter import open_interpreter; {opened}"
    loud = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], env=loud, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
