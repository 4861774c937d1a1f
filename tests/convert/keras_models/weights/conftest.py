"""Networks that stand for keras.applications', and a place for their weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.convert.keras_models.weights.in_little import stand_in, use, whole


@pytest.fixture
def in_little(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, stand_in)


@pytest.fixture
def in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, whole)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A place for files of 200 MB, which are gone after the test."""
    yield tmp_path / "mine.weights.h5"
    for each in tmp_path.iterdir():
        each.unlink()
