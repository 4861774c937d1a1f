"""What every conversion of the small network is given."""

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
