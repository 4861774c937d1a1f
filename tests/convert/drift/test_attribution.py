"""Each step from the trained network to what a device says has its own line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.drift.attribution import reference_kernels
from convert.statistics.metrics import sqnr_db
from edge_runtime import Classifier
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import centred, log_probabilities
from tests.conftest import save_colour_pictures
from tests.convert.drift.commands import gate, refused, report_of
from tests.edge_runtime.commands import predict
from tests.edge_runtime.tiny_model import OUTPUT_SCALE, tiny_artifact

NOT_FINITE = {"image": "x", "sha256": "0" * 64, "probabilities": [float("nan"), 0.5, 0.5]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_colour_pictures(tmp_path_factory.mktemp("blame") / "images", 10, seed=3)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float artifact that was lowered from Keras with 120 dB."""
    artifact = tiny_artifact()
    card = replace(artifact.card, source={"keras_sqnr_db": 120.0})
    return replace(artifact, card=card).signed().write(tmp_path_factory.mktemp("float") / "float.tflite")


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with probabilities in steps of 1/256."""
    end = TensorSpec("probabilities", "uint8", OUTPUT_SCALE, 0)
    return tiny_artifact(output_end=end).write(tmp_path_factory.mktemp("integers") / "integers.tflite")


def lines(*arguments: object) -> dict[tuple[str, str], dict[str, Any]]:
    done = gate(*arguments, "--no-stop-early", "--json")
    return {(step["from"], step["to"]): step for step in report_of(done)["blame"]}


def test_the_conversion_has_two_steps(network: Path, candidate: Path, images: Path) -> None:
    found = lines(candidate, "--reference", network, "--images", images)
    assert list(found) == [("Keras", "float TFLite"), ("float TFLite", "candidate")]
    assert found["Keras", "float TFLite"]["sqnr_db"] == 120
    assert found["Keras", "float TFLite"]["images"] is None
    quantized = found["float TFLite", "candidate"]
    assert (quantized["agreement"], quantized["images"]) == (1, 30)
    assert quantized["sqnr_db"] > 100, "the logits, read before the end is rounded, are the same"


def test_stored_answers_remember_keras(network: Path, candidate: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    gate("--save-reference", path, "--reference", network, "--images", images)
    found = lines(candidate, "--reference", path, "--images", images)
    assert found["Keras", "float TFLite"]["sqnr_db"] == 120


def test_kernels_are_blamed_on_four_images(network: Path, candidate: Path, images: Path) -> None:
    found = lines(candidate, "--reference", network, "--images", images, "--reference-kernels")
    step = found["candidate, reference kernels", "candidate, optimized kernels"]
    assert (step["images"], step["agreement"]) == (4, 1)
    assert step["sqnr_db"] is None or step["sqnr_db"] > 40


def test_reference_kernels_leave_nothing_to_xnnpack(network: Path) -> None:
    choice = choose_engine("litert")
    names = [
        {operation["op_name"] for operation in engine._interpreter._get_ops_details()}
        for engine in (Engine(network, choice, 1), reference_kernels(network, choice))
    ]
    assert "DELEGATE" in names[0], "the case itself"
    assert "DELEGATE" not in names[1]


def recorded(model: Path, images: Path, path: Path) -> Path:
    assert predict(model, images, "--record", path).returncode == 0
    return path


def test_a_device_that_answers_as_the_host_is_not_to_blame(
    network: Path, candidate: Path, images: Path, tmp_path: Path
) -> None:
    recording = recorded(candidate, images / "red", tmp_path / "device.json")
    found = lines(candidate, "--reference", network, "--images", images, "--recorded", recording)
    step = found["candidate, this host", "candidate, device"]
    assert (step["sqnr_db"], step["agreement"], step["images"]) == (None, 1, 10)


def test_a_device_that_answers_otherwise_is(network: Path, candidate: Path, images: Path, tmp_path: Path) -> None:
    recording = recorded(network, images, tmp_path / "device.json")
    value = json.loads(recording.read_text())
    value["answers"][0]["probabilities"] = value["answers"][0]["probabilities"][::-1]
    recording.write_text(json.dumps(value))
    found = lines(network, "--reference", network, "--images", images, "--recorded", recording)
    step = found["candidate, this host", "candidate, device"]
    assert step["agreement"] == pytest.approx(29 / 30)
    with Classifier.open(network) as classifier:
        host = classifier.probabilities([answer["image"] for answer in value["answers"]])
    device = np.array([answer["probabilities"] for answer in value["answers"]], np.float32)
    logits, other = (centred(log_probabilities(rows)) for rows in (host, device))
    assert step["sqnr_db"] == pytest.approx(sqnr_db(logits, other))
    assert found["float TFLite", "candidate"]["sqnr_db"] is None, "the host is right"


def test_recordings_that_do_not_fit_are_refused_by_name(
    network: Path, candidate: Path, images: Path, tmp_path: Path
) -> None:
    recording = recorded(candidate, images / "red", tmp_path / "device.json")
    blamed = ("--reference", network, "--images", images, "--recorded", recording)
    assert f"{recording} is of another model" in refused(network, *blamed)
    other = save_colour_pictures(tmp_path / "other", 10, seed=99)
    elsewhere = recorded(candidate, other, tmp_path / "other.json")
    line = refused(candidate, "--reference", network, "--images", images, "--recorded", elsewhere)
    assert "has no image that is in" in line
    recording.write_text(recording.read_text()[:-50])
    assert "cannot be read" in refused(candidate, *blamed)
    recording.write_text(json.dumps(json.loads(elsewhere.read_text()) | {"answers": [NOT_FINITE]}))
    assert "not finite" in refused(candidate, *blamed)
    recording.write_text("[]")
    assert "cannot be read" in refused(candidate, *blamed)


def test_the_terminal_shows_the_steps(network: Path, candidate: Path, images: Path) -> None:
    shown = gate(candidate, "--reference", network, "--images", images, "--no-stop-early").stdout
    assert "Keras -> float TFLite" in shown
    assert "120.0 dB" in shown
