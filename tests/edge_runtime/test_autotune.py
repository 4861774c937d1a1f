"""What `irv2-benchmark --save` found is what "auto" takes, for this model on this device."""

from __future__ import annotations

import json
import platform
from hashlib import sha256
from pathlib import Path

import pytest

from edge_runtime import Classifier, _autotune
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.tiny_model import PIXEL_SCALE, SPEC, expected_probabilities, tiny_artifact, tiny_flatbuffer

MODEL = "ab" * 32
OTHER = "cd" * 32


def model_of(path: Path) -> str:
    with Classifier.open(path) as classifier:
        assert classifier.artifact is not None
        return classifier.artifact.card.sha256["flatbuffer"]


def recalled(model: str) -> str | None:
    request = _autotune.load_fastest(model)
    return None if request is None else request.text


def test_what_is_remembered_is_recalled() -> None:
    assert recalled(MODEL) is None
    path = _autotune.save_fastest(MODEL, "edgetpu:device=usb")
    _autotune.save_fastest(OTHER, "cpu")
    assert path == _autotune.cache_file()
    assert (recalled(MODEL), recalled(OTHER)) == ("edgetpu:device=usb", "cpu")
    _autotune.save_fastest(MODEL, "cpu")
    assert (recalled(MODEL), recalled(OTHER)) == ("cpu", "cpu")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_device_with_the_same_home_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _autotune.save_fastest(MODEL, "gpu")
    monkeypatch.setattr(platform, "node", lambda: "another-device")
    assert recalled(MODEL) is None


def test_devices_do_not_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _autotune.save_fastest(MODEL, "gpu")
    with monkeypatch.context() as other:
        other.setattr(platform, "node", lambda: "another-device")
        _autotune.save_fastest(MODEL, "cpu")
    assert recalled(MODEL) == "gpu"


@pytest.mark.parametrize("cache", ["", "relative/folder"])
def test_the_folder_is_of_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    assert _autotune.cache_file().name == "fastest.json"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _autotune.cache_file() == tmp_path / "irv2-edge" / "fastest.json"
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert _autotune.cache_file() == tmp_path / "home" / ".cache" / "irv2-edge" / "fastest.json"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"[" * 10**5, b"7", json.dumps({f"{platform.node()} {platform.machine()}": 7}).encode()],
)
def test_a_damaged_file_is_no_choice_and_gives_way(content: bytes) -> None:
    _autotune.cache_file().parent.mkdir(parents=True)
    _autotune.cache_file().write_bytes(content)
    assert recalled(MODEL) is None
    _autotune.save_fastest(MODEL, "cpu")
    assert recalled(MODEL) == "cpu"


@pytest.mark.parametrize("delegate", ["gpus", 7, None, ["gpu"]])
def test_a_choice_that_makes_no_sense_is_none(delegate: object) -> None:
    path = _autotune.save_fastest(MODEL, "cpu")
    path.write_text(json.dumps({device: {MODEL: delegate} for device in json.loads(path.read_text())}))
    assert recalled(MODEL) is None


# What "auto" makes of it


def test_auto_is_the_cpu_unless_something_is_remembered(artifact_path: Path, plugin: Path, noise: Pixels) -> None:
    _autotune.save_fastest(OTHER, str(plugin))
    with Classifier.open(artifact_path) as classifier:
        assert (classifier.receipt.requested, classifier.receipt.active) == ("auto", "cpu")
    _autotune.save_fastest(model_of(artifact_path), f"{plugin}:behaviour=claims-one")
    with Classifier.open(artifact_path) as classifier:
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert (receipt.requested, receipt.active, receipt.delegated) == ("auto", str(plugin), 1)
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    with Classifier.open(artifact_path, delegate="cpu") as classifier:
        assert classifier.receipt.active == "cpu"


def test_a_remembered_delegate_has_to_prove_itself_again(artifact_path: Path, plugin: Path) -> None:
    _autotune.save_fastest(model_of(artifact_path), f"{plugin}:behaviour=answers-wrongly")
    with pytest.warns(RuntimeWarning, match="differ from the CPU's"):
        classifier = Classifier.open(artifact_path)
    assert (classifier.receipt.requested, classifier.receipt.active) == ("auto", "cpu")


def test_another_artifact_around_the_same_network_keeps_the_choice(
    artifact_path: Path, plugin: Path, tmp_path: Path
) -> None:
    _autotune.save_fastest(model_of(artifact_path), str(plugin))
    end = TensorSpec("image", "uint8", PIXEL_SCALE, 128, "pixels")
    with Classifier.open(tiny_artifact(end).write(tmp_path / "other.tflite")) as classifier:
        assert classifier.receipt.active == "cpu"
    with Classifier.open(tiny_artifact().write(tmp_path / "same.tflite")) as classifier:
        assert classifier.receipt.active == str(plugin)


def test_a_foreign_model_is_known_by_its_hash(plugin: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_flatbuffer())
    _autotune.save_fastest(sha256(path.read_bytes()).hexdigest(), str(plugin))
    with Classifier.open(path, spec=SPEC) as classifier:
        assert classifier.receipt.active == str(plugin)
