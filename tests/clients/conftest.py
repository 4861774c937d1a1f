"""The demo network as artifacts, pictures of its size to show to clients, and our own answers about them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime import InputSpec
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import load_pixels
from tests.clients.answers import Answers, ours
from tests.clients.environments import KEPT, ROOT
from tests.clients.findings import FOUND, table
from tests.devices.conftest import demo

PICTURES_A_CLASS = 5
TINTS = ((1.0, 1.0, 1.0), (1.0, 0.9, 0.75), (0.8, 0.9, 1.0), (0.9, 1.0, 0.8), (1.0, 0.8, 0.9))
"""The bundled pictures are grey, and whoever mixes up red and blue would not be seen."""


@pytest.fixture(scope="session")
def uint8_artifact() -> Path:
    """The demo's int8 network, whose input is the picture's bytes; made if `make demo` has not."""
    return demo("int8")


@pytest.fixture(scope="session")
def float_artifact() -> Path:
    """The demo in float."""
    return demo("none")


@pytest.fixture(scope="session")
def pictures(uint8_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """50 bundled pictures as PNG files that have the network's size already, most of them tinted."""
    spec, folder = open_artifact(uint8_artifact).card.preprocessing, tmp_path_factory.mktemp("pictures")
    assert spec.crop_fraction == 1, "or ours would crop them again, and nobody else"
    classes = sorted((ROOT / "calibration_data" / "validation").iterdir())
    bundled = [path for a_class in classes for path in sorted(a_class.glob("*.png"))[:PICTURES_A_CLASS]]
    return [save(path, spec, TINTS[i % len(TINTS)], folder / f"{i:02}.png") for i, path in enumerate(bundled)]


def save(picture: Path, spec: InputSpec, tint: tuple[float, ...], path: Path) -> Path:
    """A picture as `spec` wants it, through a coloured glass; its new path."""
    pixels = load_pixels(picture, spec)
    Image.fromarray(np.rint(pixels * np.array(tint)).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def our_answers(pictures: list[Path]) -> Iterator[functools._lru_cache_wrapper[Answers]]:
    """Artifact -> what `irv2-predict` answers here about the pictures."""
    cached = functools.cache(lambda artifact: ours(artifact, pictures))
    yield cached
    cached.cache_clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was found, and leave it in `build/clients.md`."""
    if FOUND:
        lines = list(table(FOUND))
        terminalreporter.section("clients")
        terminalreporter.write_line("\n".join(lines))
        KEPT.with_suffix(".md").write_text("\n".join(["# What clients do with our artifacts", "", *lines, ""]))
