"""Frames of a camera, answered in order while the next are prepared."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime import Classifier, ImageError, InputSpec
from edge_runtime.engines import Engine
from edge_runtime.preprocess import Pixels


def frames(count: int) -> list[Pixels]:
    return list(np.random.default_rng(2).integers(0, 256, (count, 9, 7, 3), np.uint8))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_is_answered_in_order(artifact_path: Path, workers: int) -> None:
    images = frames(60)
    with Classifier.open(artifact_path, workers=workers) as classifier:
        answered = list(classifier.stream(iter(images), top_k=2))
        assert [frame.predictions for frame in answered] == classifier.predict(images, top_k=2)
    assert [frame.index for frame in answered] == list(range(60))
    assert all(frame.image is image for frame, image in zip(answered, images, strict=True))


def test_the_next_frame_is_prepared_during_inference(artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=10)  # of inference of one frame and preparation of the next

    def prepare(source: Any, spec: InputSpec) -> Pixels:
        if source is not None:
            meeting.wait()
        return np.zeros((8, 8, 3), np.uint8)

    def infer(engine: Engine, tensor: Any) -> Any:
        meeting.wait()
        return np.array([[0.0, 1.0, 0.0]], np.float32)

    monkeypatch.setattr("edge_runtime.classifier.load_pixels", prepare)
    monkeypatch.setattr(Engine, "run", infer)
    with Classifier.open(artifact_path) as classifier:
        stream = classifier.stream([None, *frames(4)])  # type: ignore[list-item]
        assert [next(stream).index for _ in range(4)] == [0, 1, 2, 3]
        stream.close()  # type: ignore[attr-defined]


def test_frames_are_dropped_on_request_when_behind(artifact_path: Path) -> None:
    come = threading.Semaphore(0)
    passed: list[int] = []

    def camera() -> Iterator[Pixels]:
        for index, image in enumerate(frames(20)):
            come.acquire(timeout=10)
            yield image
            passed.append(index)

    with Classifier.open(artifact_path) as classifier:
        stream = classifier.stream(camera(), drop=True)
        come.release()
        seen = [next(stream).index]
        come.release(19)  # all at once, while nobody asks for answers
        end = time.monotonic() + 10
        while len(passed) < 20 and time.monotonic() < end:
            time.sleep(0.002)
        assert len(passed) == 20
        seen += [frame.index for frame in stream]
    assert (seen[0], seen[-1]) == (0, 19)
    assert seen == sorted(set(seen))
    assert len(seen) <= 4  # the first, one that was prepared, one that was about to be, the newest


def test_a_stream_chooses_as_predict_does(artifact_path: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path) as classifier:
        (frame,) = classifier.stream([noise], top_k=1, threshold=0.1, deny=["red"])
        assert frame.predictions == classifier.predict(noise, 1, 0.1, deny=["red"])


def test_a_bad_frame_comes_in_its_turn(artifact_path: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path) as classifier:
        stream = classifier.stream([noise, b"no picture", noise])
        assert next(stream).index == 0
        with pytest.raises(ImageError, match="not a readable image"):
            next(stream)
