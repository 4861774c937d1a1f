"""What two worker processes measure is what one process measures, in every bit, though one of them is killed."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.images.dataset import ImageSet
from convert.quantization import on_workers
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.on_workers import Chunk, NetworkOfWorkers, measure_on_workers
from convert.quantization.statistics import (
    SAMPLED_IMAGES,
    ChannelObserver,
    Measured,
    MeasuredImage,
    collect_statistics,
    measure_here,
    sampled_every,
)
from edge_runtime.preprocess import Pixels
from tests.convert.listeners import Listener
from tests.convert.networks import SPEC, residual_network
from tests.convert.pictures import black, pictures


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    """More than a `ChannelObserver` keeps values of."""
    return list(np.random.default_rng(0).integers(0, 256, (2 * SAMPLED_IMAGES + 9, 16, 20, 3), np.uint8))


def everything(observer: ChannelObserver) -> bytes:
    """All that an observer knows, as bytes."""
    observed = observer.observed()
    numbers = [observed.minimum, observed.maximum, *observed.moving, observed.histogram.limit]
    arrays = (observer.minimum, observer.maximum, observer.moving, observer.mean, observed.histogram.counts)
    return np.array(numbers).tobytes() + b"".join(array.tobytes() for array in arrays)


def test_statistics_are_the_same_in_every_bit_though_a_worker_is_killed(
    model: bytes, images: list[Pixels], two_workers: Any
) -> None:
    pids = [worker.pid for worker in two_workers.workers.values()]

    def deadly() -> Iterator[Pixels]:
        for number, pixels in enumerate(images):
            if number == 60:
                os.kill(pids[0], signal.SIGKILL)
            yield pixels

    measure = partial(measure_on_workers, two_workers.scheduler_address)
    found, observers = collect_statistics(model, deadly(), SPEC, None, measure, len(images) - 20)
    expected, one_process = collect_statistics(model, images, SPEC)
    assert found.logits.tobytes() == expected.logits.tobytes()
    assert found.extremes.tobytes() == expected.extremes.tobytes()
    assert observers.keys() == one_process.keys()
    for name, observer in observers.items():
        assert everything(observer) == everything(one_process[name])


def test_rows_that_nobody_keeps_stay_on_the_worker(
    model: bytes, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_workers, "threads_of_worker", lambda: 1)
    network = pickle.loads(pickle.dumps(NetworkOfWorkers(model, SPEC, every=2)))
    found: list[MeasuredImage] = pickle.loads(network.measure(Chunk(4, images[4:8])))
    assert [any(len(each.rows) for each in image.activations) for image in found] == [True, False, True, False]
    for one, other in zip(found, list(measure_here(model, images[:8], SPEC))[4:], strict=True):
        assert one.logits.tobytes() == other.logits.tobytes()
        for ours, theirs in zip(one.activations, other.activations, strict=True):
            assert ours.mean.tobytes() == theirs.mean.tobytes()
            assert len(ours.rows) in (0, len(theirs.rows))


@pytest.mark.parametrize("images", [1, 128, 129, 256, 257, 1000])
def test_an_observer_keeps_values_of_the_images_that_are_sampled(images: int) -> None:
    """Each image has one value, its number."""
    observer = ChannelObserver(1, has_pixels=True)
    for number in range(images):
        value = np.float32([number])
        observer.add(Measured(value, value, value, value[np.newaxis], 1))
    kept = np.zeros(images)
    kept[:: sampled_every(images)] = 1
    counts = observer.observed().histogram.counts
    assert counts.sum() == kept.sum()


def calibrated(model: bytes, folder: ImageSet, address: str | None) -> tuple[Calibration, list[str]]:
    """A calibration that stops when the ranges have converged, and what it said."""
    measure = measure_here if address is None else partial(measure_on_workers, address)
    listener, options = Listener(), CalibrationOptions(until_enough=True)
    return calibrate(model, SPEC, folder, None, options, listener, measure), listener.notes


def test_calibration_stops_at_the_same_image_whatever_was_begun_behind_it(
    model: bytes, tmp_path: Path, two_workers: Any
) -> None:
    """Those behind it cannot be read, which only who reads them minds."""
    folder = pictures(tmp_path / "images", 24, black)
    for path in folder.paths[20:]:
        path.write_bytes(b"no picture")
    found, said = calibrated(model, folder, two_workers.scheduler_address)
    expected, said_by_one = calibrated(model, folder, None)
    assert said == said_by_one == ["ranges have converged after 16 images"]
    assert found.rounded == expected.rounded
    assert found.to_json() == expected.to_json()
