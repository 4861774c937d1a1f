"""Where the tests of models without a card keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge_runtime.foreign_models import ForeignModel


@pytest.fixture
def save(tmp_path: Path) -> Callable[[ForeignModel], Path]:
    return lambda model: model.write(tmp_path / "foreign.tflite")
