"""The demo network as artifacts, and pictures to show to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import run_command
from tests.devices.debian import skip_without_apt

ROOT = Path(__file__).parents[2]
PICTURES = ("ankle-boot", "bag", "pullover", "sandal", "trouser")


@pytest.fixture(scope="session", autouse=True)
def _apt() -> None:
    skip_without_apt()


@pytest.fixture(scope="session")
def int8_artifact() -> Path:
    """The demo's int8 artifact, made if `make demo` has not."""
    return demo("int8")


@pytest.fixture(scope="session")
def float_artifact() -> Path:
    """The same network in float."""
    return demo("none")


def demo(scheme: str) -> Path:
    """The artifact in the folder `build`, where every command of the README leaves it."""
    path = ROOT / "build" / f"irv2-demo.{scheme}.tflite"
    if not path.exists():
        done = run_command("irv2-convert", "--quantize", scheme, "--no-validate", cwd=ROOT, timeout=1800)
        assert path.exists(), done.err
    return path


@pytest.fixture(scope="session")
def pictures() -> list[Path]:
    """A bundled picture of five classes."""
    return [min((ROOT / "calibration_data" / "validation" / name).glob("*.png")) for name in PICTURES]


def logits(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What softmax was taken of, (images, classes), up to a constant for each image."""
    logarithm = np.log(np.maximum(probabilities.astype(np.float64), 1e-37))
    return np.asarray(logarithm - logarithm.mean(axis=1, keepdims=True))
