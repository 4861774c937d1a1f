"""The tiny network's answers follow from the average colour: an oracle that needs no interpreter."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime import ArtifactError, Classifier, EngineError, ImageError, InputSpec, Prediction
from edge_runtime.affine import quantize
from edge_runtime.card import TensorEnd
from edge_runtime.encoding import encode
from edge_runtime.engines import Engine
from edge_runtime.preprocess import Pixels, normalize
from tests.edge_runtime.tiny_model import (
    LABELS,
    OUTPUT_SCALE,
    PIXEL_SCALE,
    SPEC,
    expected_probabilities,
    tiny_artifact,
    tiny_flatbuffer,
)

UINT8 = TensorEnd("image", "uint8", PIXEL_SCALE, 128, "pixels")
INT8 = TensorEnd("image", "int8", PIXEL_SCALE, 0, "pixels")
NORMALIZED = TensorEnd("image", "int8", PIXEL_SCALE, 0, "normalized")
INT8_ANSWER = TensorEnd("probabilities", "int8", OUTPUT_SCALE, -128)


@pytest.fixture
def foreign_path(tmp_path: Path) -> Path:
    """A model of someone else: no card, no labels."""
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_flatbuffer())
    return path


# Answers


@pytest.mark.parametrize("colour", LABELS)
def test_the_class_is_the_colour(artifact_path: Path, pictures: Path, colour: str) -> None:
    with Classifier.open(artifact_path) as classifier:
        best = classifier.predict(pictures / f"{colour}.png")[0]
    assert (best.label, best.index) == (colour, LABELS.index(colour))


@pytest.mark.parametrize("end", [None, UINT8, INT8, NORMALIZED], ids=["float32", "uint8", "int8", "int8-normalized"])
def test_probabilities_are_the_oracles_for_every_input(tmp_path: Path, noise: Pixels, end: TensorEnd | None) -> None:
    with Classifier.open(tiny_artifact(end).write(tmp_path / "tiny.tflite")) as classifier:
        probabilities = classifier.probabilities(noise)
    assert (probabilities.shape, probabilities.dtype.name) == ((1, 3), "float32")
    assert probabilities[0] == pytest.approx(expected_probabilities(noise), abs=0.003 if end is NORMALIZED else 1e-6)


def test_an_integer_answer_is_dequantized(tmp_path: Path, noise: Pixels) -> None:
    with Classifier.open(tiny_artifact(UINT8, INT8_ANSWER).write(tmp_path / "tiny.tflite")) as classifier:
        probabilities = classifier.probabilities(noise)[0]
    assert probabilities == pytest.approx(expected_probabilities(noise), abs=OUTPUT_SCALE / 2 + 1e-6)
    assert np.array_equal(probabilities * 256, np.rint(probabilities * 256))


@pytest.mark.parametrize("end", [None, UINT8])
def test_a_bgr_network_gets_blue_first(tmp_path: Path, noise: Pixels, end: TensorEnd | None) -> None:
    path = tiny_artifact(end, spec=replace(SPEC, channel_order="BGR")).write(tmp_path / "tiny.tflite")
    with Classifier.open(path) as classifier:
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise)[::-1], abs=1e-6)


def test_predictions_are_sorted_and_add_up(artifact_path: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path) as classifier:
        predictions = classifier.predict(noise)
    order = np.argsort(-expected_probabilities(noise))
    assert [prediction.label for prediction in predictions] == [LABELS[i] for i in order]
    assert sum(prediction.probability for prediction in predictions) == pytest.approx(1)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (100, 3)])
def test_top_k_is_at_most_the_number_of_classes(artifact_path: Path, noise: Pixels, top_k: int, count: int) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert classifier.predict(noise, top_k) == classifier.predict(noise)[:count]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_a_mistake(artifact_path: Path, noise: Pixels, top_k: int) -> None:
    with Classifier.open(artifact_path) as classifier, pytest.raises(ValueError, match=f"top_k is {top_k}"):
        classifier.predict(noise, top_k)


def test_ties_go_to_the_lower_index(artifact_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier:
        row = np.array([0.25, 0.5, 0.25], np.float32)
        assert classifier.best(row, 2) == [Prediction(1, "green", 0.5), Prediction(0, "red", 0.25)]


def test_a_list_gives_a_list_for_each(artifact_path: Path, pictures: Path) -> None:
    images = [pictures / f"{colour}.png" for colour in LABELS]
    with Classifier.open(artifact_path) as classifier:
        assert classifier.predict(images) == [classifier.predict(image) for image in images]
        assert classifier.probabilities(images).shape == (3, 3)


def test_no_images_give_no_answers(artifact_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert classifier.predict([]) == []
        assert classifier.probabilities([]).shape == (0, 3)


def test_a_bad_image_is_an_image_error(artifact_path: Path, tmp_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier, pytest.raises(ImageError, match="does not exist"):
        classifier.predict(tmp_path / "missing.jpg")


def test_an_answer_that_is_no_number_is_not_ranked(tmp_path: Path, noise: Pixels) -> None:
    damaged = replace(tiny_artifact(), flatbuffer=tiny_flatbuffer(bias=float("nan"))).signed()
    with (
        Classifier.open(damaged.write(tmp_path / "nan.tflite")) as classifier,
        pytest.raises(EngineError, match="answers with NaN or infinity"),
    ):
        classifier.predict(noise)


def labels_of(predictions: list[Prediction]) -> list[str]:
    return [prediction.label for prediction in predictions]


ROW = np.array([0.2, 0.5, 0.3], np.float32)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"threshold": 0.0}, ["green", "blue", "red"]),
        ({"threshold": 0.25}, ["green", "blue"]),
        ({"threshold": 0.5}, ["green"]),
        ({"threshold": 0.51}, []),
        ({"allow": ["red", "blue"]}, ["blue", "red"]),
        ({"allow": {"red", "blue"}, "top_k": 1}, ["blue"]),
        ({"allow": []}, []),
        ({"deny": ["green"]}, ["blue", "red"]),
        ({"deny": ["green"], "top_k": 1, "threshold": 0.25}, ["blue"]),
        ({"allow": ["green", "red"], "deny": ("green",)}, ["red"]),
    ],
)
def test_classes_are_chosen_by_probability_and_name(
    artifact_path: Path, options: dict[str, Any], labels: list[str]
) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert labels_of(classifier.best(ROW, **options)) == labels


def test_predict_chooses_as_best_does(artifact_path: Path, noise: Pixels) -> None:
    options: dict[str, Any] = {"top_k": 2, "threshold": 0.3, "deny": ["blue"]}
    with Classifier.open(artifact_path) as classifier:
        expected = classifier.best(classifier.run(noise), **options)
        assert labels_of(expected) == ["red"]
        assert classifier.predict(noise, **options) == expected
        assert classifier.predict([noise, noise], **options) == [expected, expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold is 1\.5: pass a probability in 0\.\.1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"allow": ["red", "violet"]}, "allow has 'violet': pass a list of the model's own labels"),
        ({"deny": ["Red"]}, "deny has 'Red'"),
        ({"deny": "red"}, "deny has 'red': pass a list"),
    ],
)
def test_choices_that_mean_nothing_are_mistakes(
    artifact_path: Path, noise: Pixels, options: dict[str, Any], message: str
) -> None:
    with Classifier.open(artifact_path) as classifier:
        for choose in (classifier.best, classifier.predict, classifier.stream):
            with pytest.raises(ValueError, match=message):
                choose(noise, **options)


# Threads and workers


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


# Streams


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
        with pytest.raises(ImageError, match="not a picture"):
            next(stream)


# What goes into the tensor


def test_uint8_pixels_go_in_as_they_are(noise: Pixels) -> None:
    assert np.array_equal(encode(noise, SPEC, UINT8), noise)


def test_int8_pixels_are_shifted_by_128() -> None:
    tensor = encode(np.array([[[0, 128, 255]]], np.uint8), SPEC, INT8)
    assert (tensor.dtype.name, tensor.tolist()) == ("int8", [[[-128, 0, 127]]])


def test_normalized_integers_follow_the_affine_map(noise: Pixels) -> None:
    end = TensorEnd("image", "int8", 0.02, 5)
    tensor = encode(noise, SPEC, end)
    assert np.array_equal(tensor, quantize(normalize(noise, SPEC), 0.02, 5, np.int8))
    assert encode(np.array([[[0, 255, 128]]], np.uint8), SPEC, end).tolist() == [[[-45, 55, 5]]]


def test_floats_are_normalized() -> None:
    tensor = encode(np.array([[[0, 255, 255]]], np.uint8), SPEC, TensorEnd("image", "float32"))
    assert (tensor.dtype.name, tensor.tolist()) == ("float32", [[[-1.0, 1.0, 1.0]]])


# Opening


def test_a_foreign_model_opens_with_an_input_spec(foreign_path: Path, noise: Pixels) -> None:
    with Classifier.open(foreign_path, spec=SPEC, labels=("r", "g", "b")) as classifier:
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise), abs=1e-6)
        assert (classifier.labels, classifier.artifact) == (("r", "g", "b"), None)


def test_a_foreign_model_without_labels_numbers_its_classes(foreign_path: Path) -> None:
    with Classifier.open(foreign_path, spec=SPEC) as classifier:
        assert classifier.labels == ("0", "1", "2")


def test_a_foreign_model_gets_no_silent_defaults(foreign_path: Path) -> None:
    with pytest.raises(ArtifactError, match="explicit InputSpec"):
        Classifier.open(foreign_path)


def test_another_preprocessing_changes_the_answer(foreign_path: Path, noise: Pixels) -> None:
    other = replace(SPEC, mean=(0.0, 50.0, 100.0), std=(255.0, 100.0, 50.0))
    with Classifier.open(foreign_path, spec=other) as classifier:
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise, other), abs=1e-6)


def test_a_foreign_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        Classifier.open(tmp_path / "missing.tflite", spec=SPEC)


def test_labels_must_be_as_many_as_outputs(foreign_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"output is \(1, 3\), there are 2 labels"):
        Classifier.open(foreign_path, spec=SPEC, labels=("yes", "no"))


def test_the_preprocessing_must_make_what_the_model_takes(foreign_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model takes \(1, 8, 8, 3\), the preprocessing makes \(1, 9, 8, 3\)"):
        Classifier.open(foreign_path, spec=replace(SPEC, height=9))


def test_the_card_must_name_the_models_dtype(tmp_path: Path) -> None:
    tiny = tiny_artifact(UINT8)
    path = replace(tiny, flatbuffer=tiny_flatbuffer(INT8)).signed().write(tmp_path / "lying.tflite")
    with pytest.raises(ArtifactError, match="model takes int8, its card says uint8"):
        Classifier.open(path)


def test_the_card_decides_about_the_preprocessing(artifact_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert (classifier.spec, classifier.labels) == (SPEC, LABELS)
        assert classifier.artifact is not None
        assert classifier.artifact.card.name == "tiny"


@pytest.mark.parametrize("spec", [None, SPEC])
def test_a_pinned_hash_is_held(artifact_path: Path, spec: InputSpec | None) -> None:
    Classifier.open(artifact_path, spec=spec, sha256=hashlib.sha256(artifact_path.read_bytes()).hexdigest()).close()
    with pytest.raises(ArtifactError, match="not the file you pinned"):
        Classifier.open(artifact_path, spec=spec, sha256="0" * 64)


def test_the_receipt_says_what_runs(artifact_path: Path) -> None:
    with Classifier.open(artifact_path, engine="litert", threads=3) as classifier:
        receipt = classifier.receipt
    assert (receipt.engine, receipt.device, receipt.threads) == ("litert", "cpu", 3)
    assert receipt.version[0].isdigit()
    with Classifier.open(artifact_path) as classifier:
        assert classifier.receipt.threads == os.cpu_count()


def test_a_closed_classifier_says_so(artifact_path: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path) as classifier:
        pass
    classifier.close()
    with pytest.raises(EngineError, match="closed: open it again"):
        classifier.predict(noise)
