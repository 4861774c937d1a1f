"""A conversion of a user's own model, of which no more is looked at than its form."""

from __future__ import annotations

import zipfile
from pathlib import Path

from convert.job import Job
from convert.keras_models.sources import ModelSource
from convert.quantization.schemes import SCHEMES
from tests.conftest import save_colour_pictures


def own_job(folder: Path) -> Job:
    """Write the model, and images of its own; return their conversion to int8."""
    model = folder / "mine.keras"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("config.json", "{}")
    return Job(
        ModelSource(str(model)),
        (SCHEMES["int8"],),
        preprocessing="tf",
        calibration=save_colour_pictures(folder / "calibration", 5, seed=1),
        validation=save_colour_pictures(folder / "validation", 6, seed=2),
    )
