"""Models without a card: what their file says is used, what it does not say is asked for, what does not fit is said."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_runtime import ArtifactError, Classifier, EdgeError, EngineError, InputSpec
from edge_runtime._tflite_metadata import read_metadata
from edge_runtime.engines import Engine
from edge_runtime.foreign import read_foreign
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import Probabilities
from tests.edge_runtime.commands import predict, run
from tests.edge_runtime.foreign_models import GREY, ForeignModel, metadata, metadata_bytes
from tests.edge_runtime.tiny_model import LABELS, SIZE, SPEC, expected_probabilities, tiny_artifact

LABEL_FILE = {"labels.txt": b"red\ngreen\nblue\n"}
PIXELS = InputSpec(SIZE, SIZE, mean=(0, 0, 0), std=(1, 1, 1))
UINT8 = TensorSpec("image", "uint8", 1 / 127.5, 127)
COLOUR = [220, 30, 40]


@pytest.fixture
def save(tmp_path: Path) -> Callable[[ForeignModel], Path]:
    return lambda model: model.write(tmp_path / "foreign.tflite")


def answer(path: Path, pixels: Pixels, spec: InputSpec | None = None) -> Probabilities:
    with Classifier.open(path, spec=spec) as classifier:
        return np.asarray(classifier.run(pixels))


def logits(pixels: Pixels, spec: InputSpec = SPEC) -> Probabilities:
    return np.asarray(((pixels.astype(np.float64) - spec.mean) / spec.std).mean(axis=(0, 1)))


def test_metadata_say_all_that_is_needed(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    model = ForeignModel(metadata=metadata((100.0,), (50.0,)), files=LABEL_FILE)
    with Classifier.open(save(model)) as classifier:
        assert classifier.labels == LABELS
        assert classifier.spec == replace(SPEC, mean=(100, 100, 100), std=(50, 50, 50))
        assert classifier.run(noise) == pytest.approx(expected_probabilities(noise, classifier.spec), abs=1e-6)
        assert (classifier.receipt.remarks, classifier.artifact) == ((), None)


def test_a_normalization_of_each_channel(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    spec = replace(SPEC, mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 56.0))
    path = save(ForeignModel(metadata=metadata(spec.mean, spec.std), files=LABEL_FILE))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise, spec), abs=1e-6)


def test_what_is_given_goes_before_what_the_file_says(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(ForeignModel(metadata=metadata(), files=LABEL_FILE))
    other = replace(SPEC, mean=(0.0, 50.0, 100.0))
    with Classifier.open(path, spec=other, labels=("r", "g", "b")) as classifier:
        assert (classifier.spec, classifier.labels) == (other, ("r", "g", "b"))
        assert classifier.run(noise) == pytest.approx(expected_probabilities(noise, other), abs=1e-6)


def test_the_labels_without_a_locale_are_taken_and_told_apart(save: Callable[[ForeignModel], Path]) -> None:
    files = {"labels.txt": b"crane\nb\ncrane\n"}
    with Classifier.open(save(ForeignModel(metadata=metadata(), files=files))) as classifier:
        assert classifier.labels == ("crane", "b", "crane (2)")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_integers_are_normalized_and_then_quantized(
    dtype: str, save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    tensor = TensorSpec("image", dtype, 2 / 255, 128 if dtype == "uint8" else 0)
    path = save(ForeignModel(image=tensor, metadata=metadata(), files=LABEL_FILE))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise), abs=4e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_integers_with_a_scale_and_no_normalization_are_the_pixels(
    dtype: str, save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    """As MediaPipe feeds them, whatever the scale."""
    tensor = TensorSpec("image", dtype, 1 / 64, 100 if dtype == "uint8" else -28)
    path = save(ForeignModel(image=tensor, metadata=metadata(()), files=LABEL_FILE))
    as_read = replace(SPEC, mean=(100, 100, 100), std=(64, 64, 64))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise, as_read), abs=1e-6)


def test_integers_without_a_scale_are_the_pixels(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(ForeignModel(image=TensorSpec("image", "uint8"), weights=np.eye(3, dtype=np.float32) / 64))
    expected = expected_probabilities(noise, replace(PIXELS, std=(64, 64, 64)))
    for spec in (None, PIXELS):
        assert answer(path, noise, spec) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ArtifactError, match="takes uint8 pixels as they are: pass --preprocessing none"):
        Classifier.open(path, spec=SPEC)


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


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 8, 8), r"takes \(1, 3, 8, 8\): it takes channels first \(NCHW\): export it with channels last"),
        ((8, 8, 8, 3), r"takes \(8, 8, 8, 3\): it takes 8 images at once: export it with a batch of 1"),
        ((1, 8, 8, 4), r"takes \(1, 8, 8, 4\): it takes 4 channels"),
        ((1, 28, 28), r"takes \(1, 28, 28\): it has 3 axes"),
        ((), r"takes \(\): it has 0 axes"),
    ],
)
@pytest.mark.parametrize("spec", [None, SPEC])
def test_inputs_that_are_no_single_image_are_refused_by_name(
    shape: tuple[int, ...], said: str, spec: InputSpec | None, save: Callable[[ForeignModel], Path]
) -> None:
    with pytest.raises(ArtifactError, match=rf"foreign\.tflite {said}"):
        Classifier.open(save(ForeignModel(shape=shape)), spec=spec)


@pytest.mark.parametrize("shape", [(1, 3, 1, 3), (3, 1), (1, 2, 2, 3)])
def test_an_output_that_is_no_list_of_scores_is_refused(
    shape: tuple[int, ...], save: Callable[[ForeignModel], Path]
) -> None:
    count = int(np.prod(shape))
    model = ForeignModel(weights=np.ones((count, 3), np.float32), output_shape=shape)
    with pytest.raises(ArtifactError, match=r"the model's output is \(.*\), not one score for each class"):
        Classifier.open(save(model), spec=SPEC)


OPEN = ForeignModel(shape=(1, 1, 1, 3), signature=(1, -1, -1, 3))


def test_a_placeholder_is_no_size(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(OPEN)
    assert answer(path, noise, SPEC) == pytest.approx(expected_probabilities(noise), abs=1e-6)
    with pytest.raises(ArtifactError, match=r"takes images of any size: pass --input-size"):
        read_foreign(path).spec("tf")
    assert read_foreign(path).spec("tf", (20, 30)).height == 20


@pytest.mark.parametrize("model", [OPEN, replace(OPEN, signature=()), replace(OPEN, shape=(1, 5, 5, 3))])
def test_metadata_may_say_the_size(model: ForeignModel, save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(replace(model, metadata=metadata(size=(SIZE, SIZE)), files=LABEL_FILE))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise), abs=1e-6)
    silent = save(replace(model, metadata=metadata(), files=LABEL_FILE))
    with pytest.raises(ArtifactError, match="takes images of any size: pass --input-size"):
        Classifier.open(silent)


HALF_OPEN = ForeignModel(shape=(1, SIZE, 1, 3), signature=(1, SIZE, -1, 3))


def test_a_side_that_is_fixed_stays(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(HALF_OPEN)
    file = read_foreign(path)
    assert file.size is None
    with pytest.raises(ArtifactError, match="takes images of 8xany pixels: pass --input-size N or HEIGHTxWIDTH"):
        file.spec("tf")
    with pytest.raises(ArtifactError, match=r"--input-size 9x20 does not fit .*: it takes 8xany alone"):
        file.spec("tf", (9, 20))
    assert file.spec("tf", (SIZE, 20)).width == 20
    with pytest.raises(ArtifactError, match=r"takes \(1, 8, any, 3\), the preprocessing makes \(1, 9, 20, 3\)"):
        Classifier.open(path, spec=replace(SPEC, height=9, width=20))
    wide = np.concatenate([noise, noise], axis=1)
    found = answer(path, wide, replace(SPEC, width=2 * SIZE))
    assert found == pytest.approx(expected_probabilities(noise), abs=1e-6)


def test_metadata_that_contradict_a_fixed_side_do_not_count(save: Callable[[ForeignModel], Path]) -> None:
    path = save(replace(HALF_OPEN, metadata=metadata(size=(20, 20)), files=LABEL_FILE))
    with pytest.raises(ArtifactError, match="its metadata ask for 20x20 images: pass --input-size if they mean it"):
        Classifier.open(path)


@pytest.mark.parametrize("signature", [(), (1, -1, -1, 3), (-1, -1, -1, 3)])
def test_images_of_other_channels_do_not_fit_an_open_size(
    signature: tuple[int, ...], save: Callable[[ForeignModel], Path]
) -> None:
    grey = InputSpec(SIZE, SIZE, (127.5,), (127.5,), channels=1)
    with pytest.raises(ArtifactError, match=r"takes \(1, any, any, 3\), the preprocessing makes \(1, 8, 8, 1\)"):
        Classifier.open(save(replace(OPEN, signature=signature)), spec=grey)


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ((1, 3, -1, -1), r"takes \(1, 3, any, any\): it takes channels first \(NCHW\)"),
        ((1, -1, -1, -1), r"takes \(1, any, any, any\): it takes any channels, and an image classifier takes"),
    ],
)
def test_a_placeholder_is_no_number_of_channels(
    signature: tuple[int, ...], said: str, save: Callable[[ForeignModel], Path]
) -> None:
    shape = tuple(max(side, 1) for side in signature)
    with pytest.raises(ArtifactError, match=said):
        Classifier.open(save(ForeignModel(shape=shape, signature=signature)), spec=SPEC)


def test_metadata_cannot_ask_for_any_amount_of_work(save: Callable[[ForeignModel], Path]) -> None:
    path = save(replace(OPEN, metadata=metadata(size=(4096, 4096)), files=LABEL_FILE))
    with pytest.raises(ArtifactError, match="its metadata ask for 4096x4096 images: pass --input-size"):
        Classifier.open(path)


def test_an_open_batch_is_a_batch_of_one(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(ForeignModel(shape=(4, SIZE, SIZE, 3), signature=(-1, SIZE, SIZE, 3)))
    assert answer(path, noise, SPEC) == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert read_foreign(path).spec("tf").height == SIZE, "its size is not open"
    with pytest.raises(ArtifactError, match=r"--input-size 9x9 does not fit .*: it takes 8x8 alone"):
        read_foreign(path).spec("tf", (9, 9))


def test_a_grey_model_may_end_in_logits(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    weights = np.array([[1], [0], [-1]], np.float32)
    path = save(ForeignModel("logits", shape=(1, SIZE, SIZE, 1), weights=weights))
    grey = noise[..., :1]
    mean = float(((grey.astype(np.float64) - 127.5) / 127.5).mean())
    powers = np.exp(np.array([mean, 0, -mean]))
    found = answer(path, grey, InputSpec(SIZE, SIZE, (127.5,), (127.5,), channels=1))
    assert found == pytest.approx(powers / powers.sum(), abs=1e-6)


def test_a_size_that_the_model_does_not_take_is_refused(save: Callable[[ForeignModel], Path]) -> None:
    with pytest.raises(ArtifactError, match=r"--input-size 9x8 does not fit .*: it takes 8x8 alone"):
        read_foreign(save(ForeignModel())).spec("tf", (9, 8))


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


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (ForeignModel(), r"carries no card: .*\(--preprocessing\)"),
        (ForeignModel(metadata=metadata(())), "carries no card"),
        (ForeignModel(metadata=metadata()), "its metadata name 'labels.txt', which cannot be read .*cut off"),
        (ForeignModel(metadata=metadata(), files={"other.txt": b"a"}), "'labels.txt', which is not in the file"),
        (ForeignModel(metadata=metadata(), files={"labels.txt": b""}), "'labels.txt', which is empty"),
        (ForeignModel(metadata=metadata(), files={"labels.txt": b"\xff"}), "'labels.txt', which cannot be read"),
        (ForeignModel(metadata=metadata(), files={"labels.txt": b"a\nb"}), "there are 2 labels in its metadata"),
        (ForeignModel(metadata=metadata(std=(0.0,)), files=LABEL_FILE), r"std \(0\.0, .*must be positive"),
        (ForeignModel(metadata=metadata((1.0, 2.0)), files=LABEL_FILE), "2 numbers for 3 channels"),
        (ForeignModel(metadata=metadata((float("nan"),)), files=LABEL_FILE), "must be 3 finite numbers"),
        (ForeignModel(metadata=b"\0\0\0\0M002" + bytes(99)), "marked b'M002', not b'M001'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(
    model: ForeignModel, said: str, save: Callable[[ForeignModel], Path]
) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        Classifier.open(save(model))
    assert "\n" not in str(caught.value)


def test_1001_classes_and_1000_labels(save: Callable[[ForeignModel], Path]) -> None:
    path = save(ForeignModel(weights=np.zeros((1001, 3), np.float32)))
    with pytest.raises(ArtifactError, match=r"\(1, 1001\), there are 1000 labels: .*'background' at the top"):
        Classifier.open(path, spec=SPEC, labels=[str(i) for i in range(1000)])


def test_an_artifact_that_was_cut_off_is_no_foreign_model(tmp_path: Path) -> None:
    """Its flatbuffer has metadata, but how its images are cropped is in the card alone."""
    model = ForeignModel(metadata=metadata(), files={**LABEL_FILE, "card.json": tiny_artifact().card.to_bytes()})
    path = model.write(tmp_path / "artifact.tflite")
    path.write_bytes(path.read_bytes()[: len(model.flatbuffer())])
    with pytest.raises(ArtifactError, match="cut off or damaged: copy the file again"):
        Classifier.open(path)


def test_a_grey_image_is_said_by_the_metadata() -> None:
    assert read_metadata(metadata_bytes(metadata(colour=GREY))).is_grey
    assert not read_metadata(metadata_bytes(metadata())).is_grey


@pytest.mark.parametrize("value", [0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF])
def test_any_word_of_the_metadata_may_be_wrong(value: int) -> None:
    """Offsets that lead out of the bytes or in circles, and vectors of any length."""
    sound = metadata_bytes(metadata(size=(8, 8)))
    for at in range(0, len(sound) - 3, 2):
        content = bytearray(sound)
        struct.pack_into("<I", content, at, value)
        with suppress(ValueError):
            read_metadata(bytes(content))


@pytest.mark.parametrize("length", range(0, 300, 7))
def test_metadata_may_end_anywhere(length: int) -> None:
    with suppress(ValueError):
        read_metadata(metadata_bytes(metadata())[:length])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_foreign_file_is_described_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(ForeignModel(metadata=metadata(size=(8, 8)), files=LABEL_FILE).flatbuffer())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 4))
        content[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path = tmp_path / "hostile.tflite"
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with suppress(EdgeError):
        file = read_foreign(path)
        file.spec()
        file.labels()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), tuple(COLOUR)).save(path)
    return path


def test_the_command_takes_what_the_file_does_not_say(
    save: Callable[[ForeignModel], Path], picture: Path, tmp_path: Path
) -> None:
    path, names = save(replace(OPEN, end="logits")), tmp_path / "labels.json"
    names.write_text(json.dumps({"r": 0, "g": 1, "b": 2}))
    done = predict(path, picture, "--preprocessing", "tf", "--labels", names, "--input-size", SIZE, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = expected_probabilities(np.full((SIZE, SIZE, 3), COLOUR, np.uint8))
    assert [each["label"] for each in found["predictions"]] == ["r", "b", "g"]
    assert found["predictions"][0]["probability"] == pytest.approx(expected[0], abs=1e-6)
    assert found["receipt"]["remarks"] == ["the model answers logits: a softmax makes them probabilities"]
    assert "note: the model answers logits" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "carries no card"),
        (["--preprocessing", "imagenet"], "is neither tf, caffe, torch, unit, none nor a JSON file that exists"),
        (["--preprocessing", "tf"], "takes images of any size: pass --input-size"),
        (["--input-size", "8"], "does not say how its images are prepared: pass --preprocessing tf|caffe"),
        (["--input-size", "8", "--preprocessing", "tf", "--labels", "nowhere.txt"], "--labels nowhere.txt cannot be"),
    ],
)
def test_the_command_asks_for_what_is_missing(
    arguments: list[str], said: str, save: Callable[[ForeignModel], Path], picture: Path
) -> None:
    done = predict(save(OPEN), picture, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_of_foreign_models_do_not_go_with_a_card(artifact_path: Path, picture: Path) -> None:
    done = predict(artifact_path, picture, "--preprocessing", "tf")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--preprocessing is for models without a card" in done.stderr


def test_the_benchmark_takes_the_same_options(save: Callable[[ForeignModel], Path]) -> None:
    done = run(
        "edge_runtime.benchmark", save(OPEN), "--preprocessing", "unit", "--input-size", "8x8", "--runs", 1, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inference"][0]["p50_ms"] > 0


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
