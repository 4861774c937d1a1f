"""What every conversion of the small network is given, and a conversion that lowers nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def network_of_three_classes() -> bytes:
    """A tiny float `.tflite`."""
    from tests.convert.networks import residual_network

    return residual_network(classes=3)


@pytest.fixture
def lowered_at_once(network_of_three_classes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network in place of what would be lowered, which takes seconds."""
    from convert.cache import stages
    from convert.images.conventions import input_spec
    from convert.lowering.lower import LoweredModel, LoweringRequest

    def lower(request: LoweringRequest, progress: object) -> LoweredModel:
        spec = input_spec(request.preprocessing or "tf", 16, 20)
        return LoweredModel(network_of_three_classes, "34cd", "tiny", None, "12ab", spec, 3, 120.0, {})

    monkeypatch.setattr(stages, "lower", lower)
    monkeypatch.setenv("IRV2_CACHE_DIR", str(tmp_path / "cache"))  # nobody else should recall it


@pytest.fixture
def two_workers() -> Iterator[Any]:
    """A real dask scheduler with two worker processes of one thread."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as started:
        yield started
