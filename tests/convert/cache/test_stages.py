"""What each kept result depends on; and that what comes back is equal in every bit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from convert.cache import stages
from convert.cache.stages import (
    CacheableStage,
    CalibrationRequest,
    StageCache,
    answers,
    calibrating,
    float_predictions,
    lowering,
    preprocessing_check,
    quantizing,
    timing,
)
from convert.cache.store import Cache, Key
from convert.drift.predictions import Predictions
from convert.images.dataset import ImageSet, find_images
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import FloatModel, LoweredModel, LoweringRequest
from convert.quantization.calibrate import CalibrationOptions
from convert.quantization.calibrators import AUTO
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import SCHEMES, Recipe
from convert.reporting.card import card_of
from convert.tflite import artifact_writer
from convert.tflite.artifact_writer import Package, package
from edge_runtime import InputSpec
from tests.convert.listeners import Listener
from tests.convert.networks import SPEC, residual_network


@pytest.fixture(scope="module")
def network() -> FloatModel:
    lowered = LoweredModel(residual_network(), "34cd", "tiny", None, "12ab", SPEC, 5, 120.0, {})
    return FloatModel(lowered, ("a", "b", "ç", "d", "e"))


def with_spec(network: FloatModel, spec: InputSpec) -> FloatModel:
    return replace(network, lowered=replace(network.lowered, spec=spec))


def changed(network: FloatModel) -> FloatModel:
    """With another flatbuffer."""
    model = network.model + b"\0"
    return replace(network, lowered=replace(network.lowered, model=model, sha256=hashlib.sha256(model).hexdigest()))


def noise(folder: Path, count: int, seed: int = 0) -> ImageSet:
    (folder / "noise").mkdir(parents=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (16, 20, 3), np.uint8)).save(folder / "noise" / f"{i:03}.png")
    return find_images(folder)


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Other content of the same size at the same path, with the same times."""
    before = path.stat()
    path.write_bytes(change(path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def recalled(stage: CacheableStage[Any], memory: StageCache) -> Any:
    """The result of a stage that must not be computed."""
    return memory.run(replace(stage, compute=Mock(side_effect=AssertionError("it was computed again"))))


@pytest.fixture
def memory(tmp_path: Path) -> StageCache:
    progress = Listener()
    return StageCache(Cache(tmp_path / "cache", 10**9, progress.note), progress)


def assert_equal(one: Any, other: Any) -> None:
    """Equal in type and in every bit, all the way down."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_equal(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    elif hasattr(one, "__dataclass_fields__"):
        for each in fields(one):
            assert_equal(getattr(one, each.name), getattr(other, each.name))
    else:
        assert one == other


@pytest.mark.parametrize(
    ("calibrator", "held_out", "until_enough"), [("minmax", 0, False), (AUTO, 10, False), ("mse", 4, True)]
)
def test_a_calibration_comes_back_in_every_bit(
    calibrator: str, held_out: int, until_enough: bool, network: FloatModel, tmp_path: Path, memory: StageCache
) -> None:
    images = noise(tmp_path / "images", 40)
    options = CalibrationOptions(calibrator, until_enough)
    chosen, others = images[: 40 - held_out], images[40 - held_out :] if held_out else None

    stage = calibrating("mine", network, CalibrationRequest(chosen, others, options))
    calibration = memory.run(stage)
    assert_equal(recalled(stage, memory), calibration)


def calibration_key(network: FloatModel, images: ImageSet, **changes: Any) -> str:
    request = replace(CalibrationRequest(images, None, CalibrationOptions()), **changes)
    return calibrating("mine", network, request).key().digest


def test_what_a_calibration_depends_on(network: FloatModel, tmp_path: Path) -> None:
    images = noise(tmp_path / "images", 4)
    order = replace(images, paths=images.paths[::-1])
    renamed = noise(tmp_path / "elsewhere", 4)
    keys = [
        calibration_key(network, images),
        calibration_key(changed(network), images),
        calibration_key(network, order),
        calibration_key(network, images[:3]),
        calibration_key(network, images, held_out=images),
        calibration_key(network, images, options=CalibrationOptions("minmax")),
        calibration_key(network, images, options=CalibrationOptions(until_enough=True)),
        calibration_key(with_spec(network, replace(SPEC, resize="lanczos")), images),
    ]
    assert len(set(keys)) == len(keys)
    assert calibration_key(network, renamed) == keys[0], "where the folder lies is no matter"
    rewrite(images.paths[0], last_byte)
    assert calibration_key(network, images) not in keys


@pytest.fixture(scope="module")
def int8() -> Recipe:
    return Recipe(SCHEMES["int8"], "uint8")


def packaged(network: FloatModel, model: bytes, recipe: Recipe) -> Package:
    """An artifact of a quantized network, as a conversion makes it."""
    quantized = QuantizedModel(model, "normalized" if recipe.io == "float32" else "pixels")
    return package(model, network.labels, card_of("mine", quantized, network, recipe, None, {}))


def test_a_quantized_network_comes_back_in_every_bit(
    network: FloatModel, int8: Recipe, tmp_path: Path, memory: StageCache
) -> None:
    request = CalibrationRequest(noise(tmp_path / "images", 6), None, CalibrationOptions())
    calibration = memory.run(calibrating("mine", network, request))

    stage = quantizing("mine", network, request, calibration, int8)
    quantized = memory.run(stage)
    assert quantized.layers
    assert_equal(recalled(stage, memory), quantized)

    def digest(recipe: Recipe, request: CalibrationRequest = request, network: FloatModel = network) -> str:
        return quantizing("mine", network, request, calibration, recipe).key().digest

    keys = [
        digest(int8),
        digest(replace(int8, io="int8")),
        digest(replace(int8, float_layers=("a",))),
        digest(replace(int8, scheme=SCHEMES["int16x8"])),
        digest(int8, replace(request, images=request.images[:5])),
        digest(int8, replace(request, options=CalibrationOptions("minmax"))),
        digest(int8, network=changed(network)),
    ]
    assert len(set(keys)) == len(keys)


def test_an_artifact_s_answers_and_time_come_back(network: FloatModel, tmp_path: Path, memory: StageCache) -> None:
    images = noise(tmp_path / "images", 5)
    unquantized = packaged(network, network.model, Recipe(SCHEMES["none"], "float32"))
    path = tmp_path / "mine.tflite"
    artifact_writer.write(unquantized, path)

    stage = answers(unquantized, path, network, images)
    predictions, logits = memory.run(stage)
    assert predictions.probabilities.shape == (5, 5)
    assert logits is None, "floats tell their logits"
    assert_equal(recalled(stage, memory), (predictions, logits))
    speed = memory.run(timing(unquantized, path, network, None))
    assert speed.milliseconds > 0
    assert_equal(recalled(timing(unquantized, path, network, None), memory), speed)


def test_what_an_artifact_s_answers_and_time_depend_on(network: FloatModel, tmp_path: Path) -> None:
    images, path = noise(tmp_path / "images", 3), tmp_path / "mine.tflite"
    shipped = packaged(network, network.model, Recipe(SCHEMES["none"], "float32"))
    other_ends = replace(
        shipped, card=replace(shipped.card, input=replace(shipped.card.input, encoding="normalized", name="other"))
    )
    other_labels = replace(shipped, labels=("a", "b", "c"))
    others = [replace(shipped, flatbuffer=shipped.flatbuffer + b"\0"), other_ends, other_labels]

    asked = [answers(each, path, network, images).key().digest for each in (shipped, *others)]
    asked.append(answers(shipped, path, network, images[:2]).key().digest)
    timed = [timing(each, path, network, None).key().digest for each in (shipped, *others)]
    timed += [timing(shipped, path, each, path).key().digest for each in (network, changed(network))]
    assert len(set(asked + timed)) == len(asked + timed)
    judged = shipped.with_drift({"verdict": "pass"})
    assert answers(judged, path, network, images).key().digest == asked[0], "how it was judged is no matter"


def test_answers_come_back_with_their_paths(network: FloatModel, tmp_path: Path, memory: StageCache) -> None:
    images = noise(tmp_path / "images", 5).shuffled()
    readable = tuple(path for path in images.paths if path.name != "002.png")
    rows = np.random.default_rng(1).dirichlet(np.ones(5), 4).astype(np.float32)
    answers = Predictions(readable, rows, network.labels, (f"{images.root}/noise/002.png is broken",), 0.0)

    stage = float_predictions("mine", network, images, tmp_path)
    memory.run(replace(stage, compute=lambda progress: answers))
    assert_equal(recalled(stage, memory), answers)
    moved = find_images(images.root.rename(tmp_path / "moved")).shuffled()
    found = recalled(float_predictions("mine", network, moved, tmp_path), memory)
    assert found.paths == tuple(path for path in moved.paths if path.name != "002.png")
    assert found.skipped == (f"{tmp_path}/moved/noise/002.png is broken",)


def test_what_answers_depend_on(network: FloatModel, tmp_path: Path) -> None:
    images = noise(tmp_path / "images", 3)

    def digest(network: FloatModel = network, images: ImageSet = images) -> str:
        return float_predictions("mine", network, images, tmp_path).key().digest

    keys = [
        digest(),
        digest(changed(network)),
        digest(replace(network, labels=("b", "a", "ç"))),
        digest(with_spec(network, replace(SPEC, crop_fraction=0.5))),
        digest(images=images[:2]),
    ]
    rewrite(images.paths[2], last_byte)
    keys.append(digest())
    assert len(set(keys)) == len(keys)


@pytest.fixture
def request_(tmp_path: Path) -> LoweringRequest:
    weights = tmp_path / "mine.weights.h5"
    weights.write_bytes(b"weights")
    images = noise(tmp_path / "images", 2).paths
    return LoweringRequest(ModelSource(weights=weights, classes=3), "tf", images, tmp_path)


@pytest.mark.parametrize("labels", [None, ("a", "b", "ç")])
def test_a_float_network_comes_back(
    request_: LoweringRequest, labels: tuple[str, ...] | None, tmp_path: Path, memory: StageCache
) -> None:
    lowered = LoweredModel(b"TFL3" * 1000, "34cd", "article", labels, "12ab", SPEC, 3, 123.456789, {"keras": "3.1"})
    memory.run(replace(lowering(request_), compute=lambda progress: lowered))
    assert_equal(recalled(lowering(replace(request_, scratch=tmp_path / "elsewhere")), memory), lowered)


def test_what_a_float_network_depends_on(request_: LoweringRequest, tmp_path: Path) -> None:
    source, weights = request_.source, request_.source.weights
    assert weights is not None
    preprocessing = tmp_path / "preprocessing.json"
    preprocessing.write_text('{"mean": [0, 0, 0]}')

    def digest(request: LoweringRequest) -> str:
        return lowering(request).key().digest

    keys = [
        digest(request_),
        digest(replace(request_, preprocessing="caffe")),
        digest(replace(request_, preprocessing=str(preprocessing))),
        digest(replace(request_, images=request_.images[:1])),
        digest(replace(request_, source=replace(source, classes=4))),
        digest(replace(request_, source=replace(source, input_size=99))),
        digest(replace(request_, source=replace(source, architecture="article"))),
        digest(replace(request_, source=ModelSource(str(weights)))),
        digest(replace(request_, source=ModelSource())),
        digest(replace(request_, source=ModelSource("imagenet"))),
    ]
    assert len(set(keys)) == len(keys)
    copied = tmp_path / "copy.weights.h5"
    copied.write_bytes(weights.read_bytes())
    assert digest(replace(request_, source=replace(source, weights=copied))) == keys[0], "its path is no matter"
    for path in (weights, request_.images[0]):
        rewrite(path, last_byte)
        keys.append(digest(request_))
    rewrite(preprocessing, lambda content: content.replace(b"mean", b"mEan"))
    keys.append(digest(replace(request_, preprocessing=str(preprocessing))))
    assert len(set(keys)) == len(keys)


def test_every_key_has_the_versions(
    request_: LoweringRequest,
    network: FloatModel,
    int8: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = noise(tmp_path / "more", 2)
    request = CalibrationRequest(images, None, CalibrationOptions())
    shipped = packaged(network, network.model, Recipe(SCHEMES["none"], "float32"))

    def keys() -> list[Key]:
        return [
            lowering(request_).key(),
            calibrating("mine", network, request).key(),
            float_predictions("mine", network, images, tmp_path).key(),
            preprocessing_check("mine", network, images).key(),
            quantizing("mine", network, request, Mock(), int8).key(),
            answers(shipped, tmp_path, network, images).key(),
            timing(shipped, tmp_path, network, None).key(),
        ]

    before = keys()
    monkeypatch.setattr(stages, "fingerprint", lambda: {"packages": {"tensorflow": "99"}})
    assert all(one.digest != other.digest for one, other in zip(before, keys(), strict=True))
    assert len({key.kind for key in before}) == len(before)
