"""Opening an artifact, or a model of someone else, and what must fit together."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_runtime import ArtifactError, Classifier, EngineError, InputSpec
from edge_runtime.preprocess import Pixels
from tests.edge_runtime import unusual_models
from tests.edge_runtime.tiny_model import (
    INT8,
    LABELS,
    SIZE,
    SPEC,
    UINT8,
    _Graph,
    expected_probabilities,
    tiny_artifact,
    tiny_flatbuffer,
)


@pytest.fixture
def foreign_path(tmp_path: Path) -> Path:
    """Write someone else's model: no card, no labels."""
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_flatbuffer())
    return path


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


@pytest.mark.parametrize(
    "model",
    [unusual_models.branching(), unusual_models.two_signatures(), unusual_models.sparse()],
    ids=["branches", "signatures", "sparse weights"],
)
def test_a_classifier_of_any_form_answers(model: bytes, tmp_path: Path, noise: Pixels) -> None:
    (tmp_path / "model.tflite").write_bytes(model)
    with Classifier.open(tmp_path / "model.tflite", spec=SPEC) as classifier:
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise), abs=1e-5)


@pytest.mark.parametrize(
    ("inputs", "outputs", "counts"), [(3, 1, "3 inputs and 1 output"), (1, 2, "1 input and 2 outp")]
)
def test_several_inputs_or_outputs_are_counted(inputs: int, outputs: int, counts: str, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(unusual_models.with_ends(inputs, outputs))
    with pytest.raises(EngineError, match=f"^the model has {counts}.*: an image classifier has one of each$"):
        Classifier.open(tmp_path / "model.tflite", spec=SPEC)


def test_an_answer_whose_length_is_known_only_at_run_time_is_refused(tmp_path: Path, noise: Pixels) -> None:
    """Its file says (1, 3), and the branch that is taken answers with nine numbers."""
    path = tmp_path / "model.tflite"
    path.write_bytes(unusual_models.branching(answers=unusual_models.WEIGHTS))
    with pytest.raises(EngineError, match="the model answers 9 numbers where its output has 3: pass a model that"):
        Classifier.open(path, spec=SPEC).predict(noise)


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_single_number_is_no_answer(tmp_path: Path, labels: tuple[str, ...] | None) -> None:
    graph = _Graph()
    image, mean = graph.tensor("image", (1, SIZE, SIZE, 3)), graph.tensor("mean", ())
    axes = graph.constant("axes", np.array([0, 1, 2, 3], np.int32))
    graph.operator(schema.BuiltinOperator.MEAN, [image, axes], mean, schema.ReducerOptionsT())
    path = tmp_path / "brightness.tflite"
    path.write_bytes(graph.to_bytes(image, mean))
    with pytest.raises(ArtifactError, match=re.escape("the model's output is (), not one score for each class: pass ")):
        Classifier.open(path, spec=SPEC, labels=labels)


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
