"""Tiny artifacts on disk, and pictures of one colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime import delegates, trial
from edge_runtime.delegates import DELEGATES
from edge_runtime.engines import PASSED
from edge_runtime.preprocess import Pixels
from edge_runtime.trial import Trial
from tests.edge_runtime.plugins import COMPILER, SOURCE, compile_library
from tests.edge_runtime.tiny_model import SIZE, tiny_artifact

COLOURS = {"red": (220, 30, 40), "green": (20, 200, 60), "blue": (10, 90, 240)}


@pytest.fixture
def artifact_path(tmp_path: Path) -> Path:
    """Write a float32 artifact."""
    return tiny_artifact().write(tmp_path / "tiny.none.tflite")


@pytest.fixture
def noise() -> Pixels:
    """Make pixels that fit the tiny network, with channels that differ."""
    pixels = np.random.default_rng(7).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    pixels[..., 1] //= 2
    return pixels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Make a folder with red.png, green.png and blue.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library of plugin.c."""
    if COMPILER is None:
        pytest.skip("there is no C compiler called cc to build plugin.c with")
    return compile_library(SOURCE, tmp_path_factory.mktemp("plugin"))


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep every test from seeing or changing what `irv2-benchmark --save` has saved on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every delegate pass: a stand-in that lives in this process is not in a child of it."""
    monkeypatch.setattr(trial, "try_out", lambda _: Trial(PASSED, 1.0))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that no delegate is installed or configured."""
    monkeypatch.setattr(delegates, "SYSTEM_FOLDERS", ())
    for kind in DELEGATES.values():
        monkeypatch.delenv(kind.variable, raising=False)
