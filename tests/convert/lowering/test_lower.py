"""Lowering in a child process: what it is told, what it tells, and what is said when it dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from convert import errors
from convert.errors import ConvertError, LoweringError, SourceError
from convert.images.conventions import input_spec
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweredModel, LoweringRequest, from_json, lower, to_json
from convert.tflite.graph import TfliteGraph
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.hashing import file_sha256
from edge_runtime.preprocess import load_pixels, normalize
from tests.conftest import SIZE

RESULT = (
    '{"result": {"architecture": "tiny", "labels": ["a", "b"], "weights_sha256": "0", "height": 8, "width": 9, '
    '"classes": 2, "keras_sqnr_db": 120.0, "versions": {"keras": "3"}}}'
)


@pytest.fixture
def request_of(tmp_path: Path) -> LoweringRequest:
    return LoweringRequest(ModelSource("mine.keras"), "tf", (Path("a.png"),), tmp_path / "float.tflite")


def use_worker(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell script be the worker."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def refused(request: LoweringRequest) -> ConvertError:
    with pytest.raises(ConvertError) as caught:
        lower(request, lambda stage: None)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "source",
    [
        ModelSource(),
        ModelSource("imagenet", input_size=139),
        ModelSource("some where/mine.keras"),
        ModelSource(weights=Path("käfer.weights.h5"), classes=7, input_size=100),
    ],
)
def test_a_request_survives_the_trip(source: ModelSource) -> None:
    request = LoweringRequest(source, "torch", (Path("a.png"), Path("b/猫.jpg")), Path("out/float.tflite"))
    assert from_json(to_json(request)) == request


def test_a_path_that_is_not_utf8_survives_the_trip() -> None:
    path = Path(os.fsdecode(b"\xff.png"))
    request = LoweringRequest(ModelSource(), "tf", (path,), Path("float.tflite"))
    assert from_json(to_json(request)).images == (path,)


def test_the_worker_is_given_the_request(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_worker(f"cat > {tmp_path}/asked; echo '{RESULT}'", tmp_path, monkeypatch)
    lower(request_of, lambda stage: None)
    assert from_json((tmp_path / "asked").read_text()) == request_of


def test_stages_and_the_result_are_passed_on(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = """echo '{"stage": "one"}'; echo '{"stage": "two"}'"""
    use_worker(f"cat > /dev/null; echo chatter >&2; {events}; echo '{RESULT}'", tmp_path, monkeypatch)
    stages: list[str] = []
    found = lower(request_of, stages.append)
    assert stages == ["one", "two"]
    assert found == LoweredModel(request_of.output, "tiny", ("a", "b"), "0", 8, 9, 2, 120.0, {"keras": "3"})


@pytest.mark.parametrize("name", ["SourceError", "LoweringError", "ImageSetError", "MissingExtraError"])
def test_what_the_worker_refuses_is_refused_as_that(
    name: str, request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = f'{{"error": "{name}", "message": "mine.keras is no model"}}'
    use_worker(f"cat > /dev/null; echo details >&2; echo '{event}'; exit 1", tmp_path, monkeypatch)
    error = refused(request_of)
    assert type(error) is getattr(errors, name)
    assert str(error) == "mine.keras is no model"
    assert error.__notes__ == ["details"], "what --debug shows"


def test_errors_of_the_device_side_are_lowering_errors_here(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_worker("""cat > /dev/null; echo '{"error": "ImageError", "message": "m"}'""", tmp_path, monkeypatch)
    assert type(refused(request_of)) is LoweringError


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("cat > /dev/null; echo first >&2; echo 'Aborted: last words' >&2; echo >&2; exit 7", "exit code 7"),
        ("cat > /dev/null; echo 'Aborted: last words' >&2; kill -9 $$", "killed, as happens when memory runs out"),
        ("echo 'Aborted: last words' >&2; exit 3", "exit code 3"),
        ("""cat > /dev/null; echo '{"stage": "x"}'; echo 'Aborted: last words' >&2""", "exit code 0"),
    ],
    ids=["dies", "is killed", "never reads", "forgets its result"],
)
def test_the_last_words_of_a_worker_that_dies_are_told(
    script: str, end: str, request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_worker(script, tmp_path, monkeypatch)
    error = refused(request_of)
    assert isinstance(error, LoweringError)
    assert f"the lowering of mine ended unexpectedly ({end}): Aborted: last words" in str(error)
    assert error.__notes__[0].endswith("Aborted: last words")


def test_a_worker_that_dies_without_a_word(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_worker("exit 1", tmp_path, monkeypatch)
    assert "it said nothing" in str(refused(request_of))


def test_a_request_larger_than_a_pipe_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tuple(Path("x" * 100 + str(i)) for i in range(5000))
    use_worker("echo 'No module named convert' >&2; exit 1", tmp_path, monkeypatch)
    request = LoweringRequest(ModelSource("mine.keras"), "tf", images, tmp_path / "float.tflite")
    assert "No module named convert" in str(refused(request))


def test_no_worker_is_left_behind_by_an_interrupt(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""cat > /dev/null; echo $$ > {tmp_path}/pid; echo '{{"stage": "x"}}'; exec sleep 60"""
    use_worker(script, tmp_path, monkeypatch)

    def interrupt(stage: str) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        lower(request_of, interrupt)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_real_worker_lowers_a_network(small_model: Path, validation_folder: Path, tmp_path: Path) -> None:
    images = tuple(sorted(validation_folder.glob("*/000.png")))
    stages: list[str] = []
    lowered = lower(LoweringRequest(ModelSource(str(small_model)), "tf", images, tmp_path / "f.tflite"), stages.append)
    assert (lowered.height, lowered.width, lowered.classes, lowered.labels) == (SIZE, SIZE, 3, None)
    assert lowered.keras_sqnr_db >= 100
    assert lowered.weights_sha256 == file_sha256(small_model)
    assert set(lowered.versions) == {"tensorflow", "keras"}
    assert stages[0] == "loading TensorFlow"
    assert len(stages) == len(set(stages)) == 4
    graph = TfliteGraph(lowered.path.read_bytes())
    inputs, outputs = graph.signatures()["serving_default"]
    assert (list(inputs), list(outputs)) == (["image"], ["probabilities"])
    assert graph.shape(graph.inputs[0]) == (1, SIZE, SIZE, 3)
    assert not [operator.name for operator in graph.operators if operator.name in ("MUL", "SUB", "RSQRT")], "folded"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.log", "f.tflite"]


def test_a_real_worker_refuses_a_damaged_model(validation_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.keras"
    path.write_bytes(b"no archive")
    images = tuple(validation_folder.glob("*/000.png"))
    error = refused(LoweringRequest(ModelSource(str(path)), "tf", images, tmp_path / "float.tflite"))
    assert isinstance(error, SourceError)
    assert "broken.keras" in str(error)


def test_the_parent_never_imports_tensorflow() -> None:
    import subprocess

    code = "import sys, convert.lowering.lower; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_keras_own_topology_lowers_with_its_residual_scaling_folded(validation_folder: Path, tmp_path: Path) -> None:
    """Each branch is multiplied by 0.17, 0.1 or 0.2 before its sum: 40 multiplications that need no operator."""
    import keras

    keras.utils.set_random_seed(0)
    theirs = keras.applications.InceptionResNetV2(weights=None, input_shape=(75, 75, 3), classes=3)
    theirs.save(tmp_path / "theirs.keras")
    pictures = tuple(sorted(validation_folder.glob("*/*.png")))[:2]
    request = LoweringRequest(ModelSource(str(tmp_path / "theirs.keras")), "tf", pictures, tmp_path / "float.tflite")
    lowered = lower(request, lambda stage: None)
    assert lowered.keras_sqnr_db > 80
    graph = TfliteGraph(lowered.path.read_bytes())
    assert {operator.name for operator in graph.operators} == {
        "CONV_2D", "CONCATENATION", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX",
    }  # fmt: skip
    engine = Engine(lowered.path, choose_engine("litert"), None)
    spec = input_spec("tf", 75, 75)
    for picture in pictures:
        image = normalize(load_pixels(picture, spec), spec)[np.newaxis]
        np.testing.assert_allclose(engine.run(image), np.asarray(theirs(image)), atol=1e-4)
