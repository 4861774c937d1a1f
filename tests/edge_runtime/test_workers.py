"""Several threads and several interpreters over one model."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime import Classifier, EngineError
from edge_runtime.engines import Engine
from edge_runtime.preprocess import Pixels


@pytest.mark.parametrize("workers", [1, 3])
def test_eight_threads_get_the_answers_of_one(artifact_path: Path, workers: int) -> None:
    images = list(np.random.default_rng(1).integers(0, 256, (100, 12, 12, 3), np.uint8))
    with Classifier.open(artifact_path, threads=1) as classifier:
        serial = [classifier.predict(image) for image in images]
    with Classifier.open(artifact_path, threads=1, workers=workers) as classifier, ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(lambda _: [classifier.predict(image) for image in images], range(8)))
        listed = classifier.predict(images)
    assert len({predictions[0].label for predictions in serial}) == 3
    assert all(answers == serial for answers in [*rounds, listed])


def test_workers_compute_at_the_same_time(artifact_path: Path, noise: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(3, timeout=10)
    monkeypatch.setattr(Engine, "run", lambda self, tensor: (meeting.wait(), np.zeros((1, 3), np.float32))[1])
    with Classifier.open(artifact_path, workers=3) as classifier:
        classifier.probabilities([noise] * 3)  # with fewer workers, or in turns, the meeting would break up
    meeting = threading.Barrier(2, timeout=0.2)
    with Classifier.open(artifact_path, workers=1) as classifier, ThreadPoolExecutor(2) as pool:
        for waiting in [pool.submit(classifier.run, noise) for _ in range(2)]:
            with pytest.raises(threading.BrokenBarrierError):
                waiting.result()


def test_workers_share_the_cores_and_the_file(artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for workers, threads in ((1, 8), (3, 2), (16, 1)):
        with Classifier.open(artifact_path, workers=workers) as classifier:
            assert (classifier.receipt.workers, classifier.receipt.threads) == (workers, threads)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="this system does not list what is mapped")
def test_every_worker_maps_the_file(artifact_path: Path) -> None:
    with Classifier.open(artifact_path, workers=2):
        maps = Path("/proc/self/maps").read_text().splitlines()
    assert sum(line.endswith(str(artifact_path)) for line in maps) == 2


def test_no_workers_are_too_few(artifact_path: Path) -> None:
    with pytest.raises(EngineError, match="0 workers: pass at least 1"):
        Classifier.open(artifact_path, workers=0)


def test_closing_waits_for_what_is_computed(
    artifact_path: Path, noise: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, let_go = threading.Event(), threading.Event()

    def slow(engine: Engine, tensor: Any) -> Any:
        running.set()
        let_go.wait(10)
        return np.array([[0.0, 1.0, 0.0]], np.float32)

    monkeypatch.setattr(Engine, "run", slow)
    classifier = Classifier.open(artifact_path, workers=2)
    with ThreadPoolExecutor(3) as pool:
        answer = pool.submit(classifier.predict, noise)
        running.wait(10)
        closing = [pool.submit(classifier.close) for _ in range(2)]
        time.sleep(0.05)
        assert not any(closed.done() for closed in closing)
        let_go.set()
        assert answer.result()[0].label == "green"
        assert [closed.result() for closed in closing] == [None, None]
    with pytest.raises(EngineError, match="closed: open it again"):
        classifier.predict(noise)
