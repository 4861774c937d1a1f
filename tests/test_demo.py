"""The first command of the README on the full network: what it promises, held on the artifact it made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import calibration_data
from convert.tflite.graph import TfliteGraph
from edge_runtime import Classifier
from edge_runtime.artifact import Artifact, open_artifact
from tests.conftest import DemoArtifact, Finished, run_command
from tests.convert.article import article_model, randomise

pytestmark = pytest.mark.slow

LARGEST_ARTIFACT_BYTES = 62e6
HEAD = ["DEQUANTIZE", "MEAN", "DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]
"""What computes in float after the last convolution; the second DEQUANTIZE unpacks the dense layer's weights."""


@pytest.fixture(scope="module")
def artifact(demo_artifact: DemoArtifact) -> Artifact:
    return open_artifact(demo_artifact.path)


@pytest.fixture(scope="module")
def graph(artifact: Artifact) -> TfliteGraph:
    return TfliteGraph(artifact.path.read_bytes()[: artifact.flatbuffer_bytes])


@pytest.fixture(scope="module")
def report(demo_artifact: DemoArtifact) -> dict[str, Any]:
    path = demo_artifact.path
    return dict(json.loads(path.with_name(f"{path.name}.report.json").read_text()))


def test_the_gate_passes(demo_artifact: DemoArtifact, report: dict[str, Any]) -> None:
    assert demo_artifact.finished.code == 0, demo_artifact.finished.err
    assert demo_artifact.path.name == "irv2-demo.int8.tflite"
    assert report["gate"]["verdict"] == "pass"
    assert report["drift"]["images"] == 1000
    assert report["drift"]["labelled"] is True


def test_accuracy_is_printed_with_its_interval(demo_artifact: DemoArtifact, report: dict[str, Any]) -> None:
    printed = demo_artifact.finished.out
    low, high = report["drift"]["top1_drop_ci95_pp"]
    assert f"{report['drift']['top1_reference']:.2%}" in printed
    assert f"{report['drift']['top1_candidate']:.2%}" in printed
    assert f"{report['drift']['top1_drop_pp']:.2f} pp [{low:.2f}, {high:.2f}]" in printed


def test_the_float_network_is_worth_measuring(report: dict[str, Any]) -> None:
    assert report["drift"]["top1_reference"] > 0.83


def test_few_lines_are_printed(demo_artifact: DemoArtifact) -> None:
    assert len((demo_artifact.finished.out + demo_artifact.finished.err).splitlines()) < 60


def test_the_artifact_is_small(artifact: Artifact) -> None:
    assert artifact.path.stat().st_size <= LARGEST_ARTIFACT_BYTES


def test_every_convolution_is_int8_with_a_scale_for_each_output_channel(graph: TfliteGraph) -> None:
    convolutions = graph.named("CONV_2D")
    assert len(convolutions) == 242
    for convolution in convolutions:
        dtypes = [graph.dtype(i) for i in (*convolution.inputs, *convolution.outputs)]
        assert dtypes in (["int8", "int8", "int32", "int8"], ["uint8", "int8", "int32", "int8"])
        scales = graph.scales(convolution.inputs[1])
        assert scales is not None
        assert len(scales) == graph.shape(convolution.outputs[0])[-1]


def test_nothing_else_computes_in_float_than_the_head(graph: TfliteGraph) -> None:
    floats = [operator.name for operator in graph.operators if graph.dtype(operator.outputs[0]) == "float32"]
    assert floats == HEAD


def test_the_ends_are_one_picture_and_its_probabilities(graph: TfliteGraph, artifact: Artifact) -> None:
    inputs, outputs = graph.signatures()["serving_default"]
    spec = artifact.card.preprocessing
    assert graph.shape(inputs["image"]) == (1, spec.height, spec.width, 3)
    assert graph.dtype(inputs["image"]) == "uint8"
    assert graph.shape(outputs["probabilities"]) == (1, 10)


@pytest.mark.parametrize("folder", ["sneaker", "trouser", "bag"])
def test_predict_names_what_bundled_pictures_show(demo_artifact: DemoArtifact, folder: str) -> None:
    pictures = sorted((calibration_data.VALIDATION / folder).glob("*.png"))[:20]
    finished = run_command("irv2-predict", demo_artifact.path, *pictures, "--json")
    assert finished.code == 0, finished.err
    answers = [json.loads(line) for line in finished.out.splitlines()]
    right = [answer["predictions"][0]["label"].lower() == folder for answer in answers]
    assert len(right) == 20
    assert sum(right) >= 15


@pytest.fixture(scope="module")
def article_trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """The article's own network at full width and depth, and its weights as its script saves them."""
    model = randomise(article_model(size=75, classes=10))
    path = tmp_path_factory.mktemp("article") / "mine.weights.h5"
    model.save_weights(path)
    return model, path


def test_article_trained_weights_become_the_network_they_were_trained_in(
    article_trained: tuple[keras.Model, Path], tmp_path: Path
) -> None:
    model, path = article_trained
    finished: Finished = run_command(
        "irv2-convert", "--weights", path, "--input-size", 75, "--preprocessing", "tf",
        "--quantize", "none", "--no-validate", "--output-dir", tmp_path,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    converted = tmp_path / "mine.none.tflite"
    assert open_artifact(converted).card.source["keras_sqnr_db"] >= 80
    random = np.random.default_rng(3)
    pictures = list(random.integers(0, 256, (3, 5, 5, 3), np.uint8).repeat(15, axis=1).repeat(15, axis=2))
    expected = model.predict(np.stack(pictures).astype(np.float32) / 127.5 - 1, verbose=0)
    with Classifier.open(converted) as classifier:
        np.testing.assert_allclose(classifier.probabilities(pictures), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3
