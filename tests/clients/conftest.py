"""The demo network as artifacts, pictures of its size to show to clients, and our own answers about them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime import Classifier
from edge_runtime.preprocess import Pixels, load_pixels
from edge_runtime.tensors import Probabilities
from tests.clients.answers import Predictions, ours
from tests.clients.environments import KEPT, ROOT
from tests.clients.findings import FOUND, table
from tests.devices.conftest import demo

PICTURES_A_CLASS, TRIED_A_CLASS = 5, 20
CLEAR_LEAD = 0.3
"""Of the first class before the second, in a probability. Kernels without XNNPACK round int8 otherwise and move
probabilities by 0.14: what is nearer to a tie than that says nothing about a client."""
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
    """50 bundled pictures as PNG files that have the network's size already, most of them tinted; no near ties."""
    folder, chosen = tmp_path_factory.mktemp("pictures"), []
    with Classifier.open(uint8_artifact) as classifier:
        assert classifier.spec.crop_fraction == 1, "or ours would crop them again, and nobody else"
        for a_class in sorted((ROOT / "calibration_data" / "validation").iterdir()):
            bundled = sorted(a_class.glob("*.png"))[:TRIED_A_CLASS]
            tinted = [tint(load_pixels(path, classifier.spec), TINTS[i % len(TINTS)]) for i, path in enumerate(bundled)]
            clear = [pixels for pixels in tinted if lead(classifier.run(pixels)) > CLEAR_LEAD]
            chosen += clear[:PICTURES_A_CLASS]
    paths = [folder / f"{i:02}.png" for i in range(len(chosen))]
    for pixels, path in zip(chosen, paths, strict=True):
        Image.fromarray(pixels).save(path)
    assert len(paths) == 50
    return paths


def tint(pixels: Pixels, colour: tuple[float, float, float]) -> Pixels:
    """Pixels seen through a coloured glass."""
    return np.rint(pixels * np.array(colour)).astype(np.uint8)


def lead(probabilities: Probabilities) -> float:
    """By how much the first class leads the second."""
    second, first = np.sort(probabilities)[-2:]
    return float(first - second)


@pytest.fixture(scope="session")
def our_answers(pictures: list[Path]) -> Iterator[functools._lru_cache_wrapper[Predictions]]:
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
