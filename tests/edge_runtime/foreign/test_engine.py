"""Whatever a model without a card answers becomes a probability for each class, and is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_runtime import ArtifactError, Classifier, EngineError, InputSpec
from edge_runtime.engines import Engine
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import Probabilities
from tests.edge_runtime.foreign_models import (
    PIXELS,
    ForeignModel,
    answer,
)
from tests.edge_runtime.tiny_model import LABELS, SIZE, SPEC, expected_probabilities


def logits(pixels: Pixels, spec: InputSpec = SPEC) -> Probabilities:
    return np.asarray(((pixels.astype(np.float64) - spec.mean) / spec.std).mean(axis=(0, 1)))


def test_logits_become_probabilities_and_the_receipt_says_so(
    save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    with Classifier.open(save(ForeignModel("logits")), spec=SPEC) as classifier:
        assert classifier.run(noise) == pytest.approx(expected_probabilities(noise), abs=1e-6)
        assert classifier.receipt.remarks == ("the model answers logits: a softmax makes them probabilities",)


def test_a_softmax_of_single_operators_is_left_alone(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    with Classifier.open(save(ForeignModel("softmax by hand")), spec=SPEC) as classifier:
        assert classifier.run(noise) == pytest.approx(expected_probabilities(noise), abs=1e-6)
        assert classifier.receipt.remarks == ()


def test_sigmoids_are_left_alone(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    expected = 1 / (1 + np.exp(-logits(noise)))
    with Classifier.open(save(ForeignModel("sigmoid", output_shape=(1, 1, 3))), spec=SPEC) as classifier:
        assert classifier.run(noise) == pytest.approx(expected, abs=1e-6)
        assert classifier.receipt.remarks == ()


def test_one_sigmoid_is_the_probability_of_the_second_label(
    save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    model = ForeignModel("sigmoid", weights=np.array([[1, 0, 0]], np.float32))
    second = 1 / (1 + np.exp(-logits(noise)[0]))
    with Classifier.open(save(model), spec=SPEC, labels=("cat", "dog")) as classifier:
        assert classifier.run(noise) == pytest.approx([1 - second, second], abs=1e-6)
        assert "the probability of the second label" in classifier.receipt.remarks[0]


def test_answers_that_are_no_probabilities_are_no_answer(
    save: Callable[[ForeignModel], Path], noise: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph says softmax, but its tensors are damaged."""
    monkeypatch.setattr(Engine, "run", lambda *_: np.array([[0, 40, 1]], np.float32))
    with (
        Classifier.open(save(ForeignModel()), spec=SPEC) as classifier,
        pytest.raises(EngineError, match="the model answers 0 to 40, which are no probabilities"),
    ):
        classifier.run(noise)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("end", ["softmax", "logits"])
def test_one_axis_of_scores_may_have_others_around_it(
    shape: tuple[int, ...], end: str, save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    path = save(ForeignModel(end, output_shape=shape))
    assert answer(path, noise, SPEC) == pytest.approx(expected_probabilities(noise), abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 1, 3), (3, 1), (1, 2, 2, 3)])
def test_an_output_that_is_no_list_of_scores_is_refused(
    shape: tuple[int, ...], save: Callable[[ForeignModel], Path]
) -> None:
    count = int(np.prod(shape))
    model = ForeignModel(weights=np.ones((count, 3), np.float32), output_shape=shape)
    with pytest.raises(ArtifactError, match=r"the model's output is \(.*\), not one score for each class"):
        Classifier.open(save(model), spec=SPEC)


def test_a_grey_model_may_end_in_logits(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    weights = np.array([[1], [0], [-1]], np.float32)
    path = save(ForeignModel("logits", shape=(1, SIZE, SIZE, 1), weights=weights))
    grey = noise[..., :1]
    mean = float(((grey.astype(np.float64) - 127.5) / 127.5).mean())
    powers = np.exp(np.array([mean, 0, -mean]))
    found = answer(path, grey, InputSpec(SIZE, SIZE, (127.5,), (127.5,), channels=1))
    assert found == pytest.approx(powers / powers.sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("scale", "spec", "said"),
    [
        (1 / 255, PIXELS, "the input holds 0 to 1, and pixels are prepared as 0 to 255, .* --preprocessing unit would"),
        (1.0, SPEC, None),
        (1 / 127.5, PIXELS, "most of them out of its range"),
        (1e-9, SPEC, "its range was calibrated on other images than these"),
    ],
)
def test_pixels_that_the_input_cannot_hold_are_not_clipped_in_silence(
    scale: float, spec: InputSpec, said: str | None, save: Callable[[ForeignModel], Path]
) -> None:
    path = save(ForeignModel(image=TensorSpec("image", "uint8", scale, 0 if spec is PIXELS else 128)))
    if said is None:
        Classifier.open(path, spec=spec).close()
        return
    with pytest.raises(ArtifactError, match=said):
        Classifier.open(path, spec=spec)


def test_a_few_clipped_values_are_said(save: Callable[[ForeignModel], Path]) -> None:
    path = save(ForeignModel(image=TensorSpec("image", "uint8", 1.6 / 255, 128)))
    with Classifier.open(path, spec=SPEC) as classifier:
        assert "of the values are clipped" in classifier.receipt.remarks[0]


@pytest.mark.parametrize("end", ["logits", "softmax"])
def test_a_scale_that_was_left_on_floats_means_nothing(tmp_path: Path, noise: Pixels, end: str) -> None:
    """As converters leave it behind that undo a quantization."""
    whole = schema.ModelT.InitFromPackedBuf(ForeignModel(end=end).flatbuffer(), 0)
    (graph,) = whole.subgraphs
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index].quantization = schema.QuantizationParametersT()
        graph.tensors[index].quantization.scale, graph.tensors[index].quantization.zeroPoint = [0.5], [3]
    builder = flatbuffers.Builder()
    builder.Finish(whole.Pack(builder), b"TFL3")
    path = tmp_path / "floats.tflite"
    path.write_bytes(builder.Output())
    with Classifier.open(path, spec=SPEC, labels=LABELS) as classifier:
        assert (classifier.head, classifier.run(noise)) == (
            "softmax",
            pytest.approx(expected_probabilities(noise), abs=1e-6),
        )
