"""`irv2-drift` over models without a card: what their files say is used, and no size that nobody meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.convert.drift.commands import copied, gate, refused, report_of
from tests.edge_runtime.compiled_models import compiled_file
from tests.edge_runtime.foreign_models import ForeignModel, metadata
from tests.edge_runtime.tiny_model import SIZE, SPEC, tiny_artifact

LABEL_FILE = {"labels.txt": b"red\ngreen\nblue\n"}
OPEN = {"shape": (1, 1, 1, 3), "signature": (1, -1, -1, 3)}
INDEX = {"0": ["n00000001", "red"], "1": ["n00000002", "green"], "2": ["n00000003", "blue"]}


@pytest.mark.parametrize("end", ["softmax", "logits", "softmax by hand"])
def test_a_foreign_model_that_describes_itself_needs_no_option(
    end: str, network: Path, images: Path, tmp_path: Path
) -> None:
    candidate = ForeignModel(end, metadata=metadata(), files=LABEL_FILE).write(tmp_path / "foreign.tflite")
    done = gate(candidate, "--reference", network, "--images", images, "--json", "--no-stop-early")
    drift = report_of(done)["drift"]
    assert done.exit_code == 0
    assert (drift["top1_candidate"], drift["agreement_top1"]) == (1.0, 1.0)
    assert drift["max_abs_error"] < 1e-5, "logits would be off by more"
    assert ("the model answers logits" in done.stderr) == (end == "logits")


def test_a_size_left_open_is_that_which_is_given(network: Path, images: Path, tmp_path: Path) -> None:
    """Judged at the placeholder of 1x1, any network agrees with any other."""
    candidate = ForeignModel(**OPEN).write(tmp_path / "open.tflite")
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"red": 0, "green": 1, "blue": 2}))
    arguments = (candidate, "--reference", network, "--images", images, "--preprocessing", "tf", "--labels", labels)
    done = gate(*arguments, "--input-size", SIZE, "--json", "--no-stop-early")
    assert done.exit_code == 0, done.stderr
    assert "labels.json: 3 labels, class_indices dictionary" in done.stderr
    assert report_of(done)["drift"]["max_abs_error"] < 1e-5


@pytest.mark.parametrize("is_reference", [True, False])
def test_a_size_that_nobody_says_is_that_of_the_other_model(
    is_reference: bool, network: Path, images: Path, labels: Path, tmp_path: Path
) -> None:
    """Of a card, of stored answers, and of a file of a fixed size."""
    unsized = ForeignModel(**OPEN).write(tmp_path / "open.tflite")
    fixed = ForeignModel().write(tmp_path / "fixed.tflite")
    said = ("--images", images, "--preprocessing", "tf", "--labels", labels, "--json")
    stored = tmp_path / "stored.npz"
    assert gate("--save-reference", stored, "--reference", fixed, *said).exit_code == 0
    for other in (network, fixed, *([] if is_reference else [stored])):
        pair = (other, "--reference", unsized) if is_reference else (unsized, "--reference", other)
        done = gate(*pair, *said)
        assert f"{unsized} leaves the size of images open: 8x8, as its counterpart; else --input-size" in done.stderr
        assert report_of(done)["drift"]["top1_reference"] == report_of(done)["drift"]["top1_candidate"] == 1.0


def test_a_size_that_neither_says_is_asked_for(images: Path, labels: Path, tmp_path: Path) -> None:
    """Two networks that disagree agree at the placeholder of 1x1."""
    unsized = ForeignModel(**OPEN).write(tmp_path / "open.tflite")
    arguments = (unsized, "--reference", unsized, "--images", images, "--preprocessing", "tf", "--labels", labels)
    assert "open.tflite takes images of any size: pass --input-size N or HEIGHTxWIDTH" in refused(*arguments)
    done = gate(*arguments, "--input-size", "9x20", "--json")
    assert report_of(done)["drift"]["top1_reference"] == 1.0
    assert "leaves the size" not in done.stderr


def test_each_model_may_have_a_size_of_its_own(images: Path, labels: Path, tmp_path: Path) -> None:
    """A size that is said is that of the model which takes it."""
    unsized = ForeignModel(**OPEN).write(tmp_path / "open.tflite")
    fixed = ForeignModel(shape=(1, 20, 20, 3)).write(tmp_path / "fixed.tflite")
    said = ("--images", images, "--preprocessing", "tf", "--labels", labels, "--input-size", 8, "--json")
    assert report_of(gate(unsized, "--reference", fixed, *said))["drift"]["top1_candidate"] == 1.0
    assert "--input-size 8x8 does not fit" in refused(fixed, "--reference", fixed, *said)


@pytest.mark.parametrize("said", [[], ["--input-size", "8"]])
def test_a_keras_file_of_any_size_is_lowered_at_that_of_the_candidate(
    said: list[str], network: Path, images: Path, labels: Path, tmp_path: Path
) -> None:
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(image)))
    model.set_weights([np.eye(3), np.zeros(3)])
    model.save(tmp_path / "any.keras")
    done = gate(
        *(network, "--reference", tmp_path / "any.keras", "--images", images, "--preprocessing", "tf"),
        *("--labels", labels, "--json", "--no-stop-early", *said),
    )
    assert ("any.keras leaves the size of images open: 8x8" in done.stderr) == (not said)
    assert report_of(done)["drift"]["max_abs_error"] < 1e-5


def test_a_reference_that_is_prepared_in_another_way_is_said(images: Path, tmp_path: Path) -> None:
    """Its channels are exchanged, so red is blue; the labels in another order would not help."""
    bare = ForeignModel().write(tmp_path / "bare.tflite")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nc\nb\n")
    folder = copied(images, tmp_path / "all")
    for colour, name in (("red", "a"), ("green", "c"), ("blue", "b")):
        (folder / colour).rename(folder / name)
    arguments = ("--images", folder, "--labels", labels, "--no-stop-early", "--json")
    summary = tmp_path / "summary.md"
    done = gate(bare, "--reference", bare, "--preprocessing", "caffe", *arguments, GITHUB_STEP_SUMMARY=str(summary))
    said = "warning: the reference is right on"
    assert said in done.stderr
    itself, warning = report_of(done)["warnings"]
    assert "the reference is the candidate itself" in itself
    assert warning.endswith("on 100% with --preprocessing tf: check --preprocessing")
    assert "- warning: the reference is right on" in summary.read_text()
    assert "and on 100% with --preprocessing tf: check --preprocessing" in done.stderr.replace("\n", " ")
    assert said not in gate(bare, "--reference", bare, "--preprocessing", "tf", *arguments).stderr


def test_a_size_that_is_none_is_wrong_usage(network: Path, images: Path) -> None:
    done = gate(network, "--reference", network, "--images", images, "--input-size", "8by8")
    assert done.exit_code == 2
    assert "'8by8' is not a size in pixels" in done.stderr


def test_a_reference_with_labels_in_another_order_is_said(images: Path, tmp_path: Path) -> None:
    """The network's classes are sorted as text, its labels are not."""
    swapped = ForeignModel(metadata=metadata(), files=LABEL_FILE).write(tmp_path / "swapped.tflite")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nc\nb\n")
    folder = copied(images, tmp_path / "all")
    for colour, name in (("red", "a"), ("green", "b"), ("blue", "c")):
        (folder / colour).rename(folder / name)
    done = gate(
        *(swapped, "--reference", swapped, "--images", folder, "--preprocessing", "tf", "--labels", labels),
        "--no-stop-early",
    )
    assert (
        "warning: the reference is right on 33% of 180 labelled images, and on 100% with --labels FILE" in done.stderr
    )


@pytest.mark.parametrize("sharded", [False, True])
def test_folders_may_be_called_by_wordnet_numbers(sharded: bool, images: Path, tmp_path: Path) -> None:
    candidate = ForeignModel(metadata=metadata(), files=LABEL_FILE).write(tmp_path / "foreign.tflite")
    folder = copied(images, tmp_path / "numbered")
    for number, name in INDEX.values():
        (folder / name).rename(folder / number)
    index = tmp_path / "imagenet_class_index.json"
    index.write_text(json.dumps(INDEX))
    arguments = (candidate, "--reference", candidate, "--images", folder, "--labels", index)
    if sharded:
        rows = tmp_path / "rows.json"
        assert gate(*arguments, "--shard", "1/1", "--rows", rows).exit_code == 0
        done = gate("merge", rows, "--json")
    else:
        done = gate(*arguments, "--json")
    assert report_of(done)["drift"]["top1_reference"] == 1.0
    assert "they are WordNet numbers" in refused(*arguments[:-2])


def test_files_that_are_not_looked_at_are_said(network: Path, images: Path, tmp_path: Path) -> None:
    folder = copied(images, tmp_path / "some")
    for path in (folder / "blue").iterdir():
        path.rename(path.with_suffix(".HEIC"))
    done = gate(network, "--reference", network, "--images", folder, "--no-stop-early")
    assert "60 files not looked at, since only images can be read (.HEIC): 60 in blue" in done.stderr
    assert "no image that can be read in blue" in done.stderr
    assert "no folder for 1 of 3 labels: blue" in done.stderr


def converted(path: Path, **source: object) -> Path:
    """The network as an artifact whose card says how it was made."""
    artifact = tiny_artifact()
    return replace(artifact, card=replace(artifact.card, source={"build": {}, **source})).signed().write(path)


TORCH = {**SPEC.to_json(), "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "mean 127.5, std 127.5"),
        ({"preprocessing": TORCH, "front": ["folded: mean and std"]}, "mean 123.675 116.28"),
    ],
)
def test_a_silent_reference_is_fed_and_labelled_as_the_candidate_was(
    source: dict[str, object], said: str, bare: Path, images: Path, tmp_path: Path
) -> None:
    candidate = converted(tmp_path / "made.tflite", **source)
    done = gate(candidate, "--reference", bare, "--images", images, "--json", "--no-stop-early")
    assert f"{bare} does not say how its images were prepared: as for the candidate, by its card ({said}" in done.stderr
    assert f"{bare} names no labels: those of {candidate}, in its order" in done.stderr
    assert report_of(done)["drift"]["agreement_top1"] > 0.6
    assert (report_of(done)["drift"]["max_abs_error"] < 1e-6) == (not source)


def test_a_silent_keras_file_is_fed_and_labelled_as_the_candidate_was(images: Path, tmp_path: Path) -> None:
    image = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(image)))
    model.set_weights([np.eye(3), np.zeros(3)])
    model.save(tmp_path / "mine.keras")
    candidate = converted(tmp_path / "made.tflite")
    done = gate(candidate, "--reference", tmp_path / "mine.keras", "--images", images, "--json", "--no-stop-early")
    assert "mine.keras does not say how its images were prepared: as for the candidate" in done.stderr
    assert "mine.keras names no labels: those of" in done.stderr
    assert report_of(done)["drift"]["max_abs_error"] < 1e-5


def test_what_a_front_does_is_right_for_the_candidate_alone(bare: Path, images: Path, tmp_path: Path) -> None:
    candidate = converted(tmp_path / "made.tflite", front=["folded: Rescaling into the card's mean and std"])
    message = refused(candidate, "--reference", bare, "--images", images)
    assert "does not say how its images are prepared" in message


def test_labels_that_are_given_go_before_those_of_the_candidate(bare: Path, images: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    message = refused(converted(tmp_path / "made.tflite"), "--reference", bare, "--images", images, "--labels", labels)
    assert (
        "only one of them has ['a', 'b', 'blue', 'c', 'green', 'red']: compare models with the same labels, and pass "
        "--labels FILE for one without a card" in message
    )


@pytest.mark.parametrize("options", [[], ["--preprocessing", "tf"]])
def test_what_only_hardware_computes_is_compared_before_compiling(
    options: list[str], network: Path, images: Path, tmp_path: Path
) -> None:
    candidate = compiled_file(tmp_path / "compiled.tflite")
    done = gate(candidate, "--reference", network, "--images", images, *options)
    assert done.exit_code == 1
    assert "is compiled for an Edge TPU (edgetpu-custom-op): compare what it was compiled from" in done.stderr
