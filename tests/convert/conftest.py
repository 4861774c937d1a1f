"""What every conversion of the small network is given, and a conversion that lowers nothing."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def arguments(
    small_model: Path, calibration_folder: Path, validation_folder: Path, colour_labels: Path
) -> list[object]:
    """What every conversion of the small network is given."""
    return [
        "--model", small_model, "--preprocessing", "tf", "--labels", colour_labels,
        "--calibration", calibration_folder, "--validation", validation_folder,
    ]  # fmt: skip


@pytest.fixture
def lowered_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of three classes in place of what would be lowered, which takes seconds."""
    from convert.cache import stages
    from convert.lowering.lower import LoweredModel
    from tests.convert.networks import residual_network

    lowered = LoweredModel(residual_network(classes=3), "tiny", None, "12ab", 16, 20, 3, 120.0, {})
    monkeypatch.setattr(stages, "lower", lambda request, progress: lowered)
    monkeypatch.setenv("IRV2_CACHE_DIR", str(tmp_path / "cache"))  # nobody else should recall it
