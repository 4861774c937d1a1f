"""Every way to use the host commands wrongly: one line that names the value, and the exit code.

They run in this process, and one of each kind as a user runs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import keras
import pytest
from keras import layers

from convert.images.conventions import input_spec
from convert.keras_models.weight_formats import HDF5_START
from convert.lowering import lower
from convert.lowering.lower import Recognition
from edge_runtime.artifact import open_artifact
from tests.conftest import Finished, run_command, save_colour_pictures
from tests.convert.cli.commands import run_here


def refused(*arguments: object, code: int = 1, run: Callable[..., Finished] = run_here) -> str:
    """The one line on standard error of a command that must fail."""
    finished = run(*arguments)
    assert finished.code == code, finished.err
    assert "Traceback" not in finished.err
    lines = finished.err.strip().splitlines()
    assert code == 2 or lines[-1].startswith(f"{arguments[0]}: error: ")
    return lines[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--quantize", "int7"], "scheme 'int7' is unknown"),
        (["--quantize", ","], "no scheme in ','"),
        (["--quantize", "float16", "--io", "uint8"], "--io uint8 needs 8-bit activations"),
        (["--quantize", "int4"], "scheme int4 is not offered: XNNPACK runs no convolution with int4 weights"),
        (["--quantize", "mixed"], "scheme mixed needs --keep-float REGEX"),
        (["--keep-float", "stem"], "--keep-float 'stem' goes with --quantize mixed"),
        (["--quantize", "mixed", "--keep-float", "("], "--keep-float '(' is not a regular expression"),
        (["--target-runtime", "tflite-2"], "runtime 'tflite-2' is unknown: choose from tflite-runtime-2.7"),
        (
            ["--recover", "--quantize", "int8,mixed", "--keep-float", "stem"],
            "--recover makes the mixed artifact itself",
        ),
        (["--recover", "--no-validate"], "--recover needs --quantize int8 and a drift check"),
        (["--recover", "--quantize", "float16"], "--recover needs --quantize int8 and a drift check"),
        (["--recover", "--calibration-size", "9"], "too few for --recover, which holds some out: give at least 10"),
        (["--calibrator", "auto", "--calibration-size", "9"], "9 calibration images of"),
        (["--model", "missing.keras"], "model missing.keras does not exist"),
        (["--model", "demo.onnx"], "demo.onnx does not exist"),
        (["--weights", "missing.weights.h5"], "weights missing.weights.h5 does not exist"),
        (["--architecture", "article"], "--architecture article goes with --weights"),
        (["--classes", "3"], "--classes 3 goes with --weights"),
        (["--calibration", "nowhere"], "image folder nowhere does not exist"),
        (["--validation", "nowhere"], "image folder nowhere does not exist"),
        (["--labels", "nowhere.txt"], "--labels nowhere.txt cannot be read"),
        (["--preprocessing", "nowhere.json"], "--preprocessing nowhere.json is neither"),
    ],
)
def test_wrong_options_are_named(options: list[str], expected: str) -> None:
    assert expected in refused("irv2-convert", *options)


def test_the_installed_command_refuses_the_same() -> None:
    assert "scheme 'int7' is unknown" in refused("irv2-convert", "--quantize", "int7", run=run_command)
    assert "--io" in refused("irv2-convert", "--io", "uint9", code=2, run=run_command)


def test_wrong_usage_is_exit_code_2() -> None:
    assert "--io" in refused("irv2-convert", "--io", "uint9", code=2)
    assert "--calibration-size" in refused("irv2-convert", "--calibration-size", "0", code=2)
    assert "--calibration-size" in refused("irv2-convert", "--calibration-size", "many", code=2)
    assert "--calibrator" in refused("irv2-convert", "--calibrator", "kl", code=2)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    message = refused("irv2-convert", "--weights", tmp_path / "model.ckpt")
    assert "model.ckpt.index is not a weights file" in message


def test_own_models_need_their_preprocessing(small_model: Path) -> None:
    message = refused("irv2-convert", "--model", small_model, "--quantize", "none", "--no-validate")
    assert "does not say how its images were prepared: pass --preprocessing, or write it into irv2.toml" in message


def test_own_models_need_their_own_calibration_images(small_model: Path) -> None:
    message = refused("irv2-convert", "--model", small_model, "--preprocessing", "tf")
    assert "pass --calibration DIR" in message


def test_own_models_need_their_own_validation_images(small_model: Path) -> None:
    message = refused("irv2-convert", "--model", small_model, "--preprocessing", "tf", "--quantize", "none")
    assert "--validation DIR, or --no-validate" in message


def test_shared_images_are_refused(calibration_folder: Path) -> None:
    message = refused("irv2-convert", "--calibration", calibration_folder, "--validation", calibration_folder)
    assert "share an image" in message


@pytest.mark.usefixtures("lowered_at_once")
def test_mostly_unreadable_images_are_refused(
    small_model: Path, validation_folder: Path, colour_labels: Path, tmp_path: Path
) -> None:
    folder = save_colour_pictures(tmp_path / "broken", 3, seed=9)
    for path in folder.glob("*/000.png"):
        path.write_bytes(b"no picture")
    message = refused(
        "irv2-convert", "--model", small_model, "--preprocessing", "tf", "--labels", colour_labels,
        "--calibration", folder, "--validation", validation_folder, "--output-dir", tmp_path / "out",
    )  # fmt: skip
    assert "3 of 9 images" in message
    assert not any((tmp_path / "out").iterdir())


def test_folders_that_are_no_labels_are_named(
    small_model: Path, calibration_folder: Path, colour_labels: Path, tmp_path: Path
) -> None:
    folder = save_colour_pictures(tmp_path / "strange", 2, seed=8)
    shutil.move(folder / "red", folder / "crimson")
    message = refused(
        "irv2-convert", "--model", small_model, "--preprocessing", "tf", "--labels", colour_labels,
        "--calibration", calibration_folder, "--validation", folder, "--output-dir", tmp_path / "out",
    )  # fmt: skip
    assert "folder 'crimson'" in message


@pytest.mark.usefixtures("lowered_at_once")
def test_a_wrong_number_of_labels_is_named(
    small_model: Path, calibration_folder: Path, validation_folder: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "four.txt"
    labels.write_text("red\ngreen\nblue\nyellow\n")
    message = refused(
        "irv2-convert", "--model", small_model, "--preprocessing", "tf", "--labels", labels,
        "--calibration", calibration_folder, "--validation", validation_folder, "--output-dir", tmp_path / "out",
    )  # fmt: skip
    assert "4 labels, the network has 3 classes" in message


@pytest.mark.usefixtures("lowered_at_once")
def test_uint8_ends_that_were_asked_for_are_refused_for_a_mean_of_each_channel(
    small_model: Path, calibration_folder: Path, tmp_path: Path
) -> None:
    message = refused(
        "irv2-convert", "--model", small_model, "--preprocessing", "torch", "--calibration", calibration_folder,
        "--no-validate", "--output-dir", tmp_path / "out", "--io", "uint8",
    )  # fmt: skip
    assert "--io uint8 needs one mean" in message
    assert "--io float32" in message


@pytest.mark.usefixtures("lowered_at_once")
def test_without_io_the_ends_are_what_is_exact_and_the_reason_is_said(
    small_model: Path, calibration_folder: Path, tmp_path: Path
) -> None:
    finished = run_here(
        "irv2-convert", "--model", small_model, "--preprocessing", "torch", "--calibration", calibration_folder,
        "--no-validate", "--output-dir", tmp_path / "out", "--quantize", "int8,none",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert "int8: the input is float32, because uint8 needs one mean and one std for all channels" in finished.err
    artifact = open_artifact(next((tmp_path / "out").glob("*.int8.tflite")))
    assert (artifact.card.input.dtype, artifact.card.source["build"]["io"]) == ("float32", "float32")


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refused("irv2-convert", "--output-dir", tmp_path / "file")
    assert f"--output-dir {tmp_path / 'file'} cannot be written to: " in message
    assert message.endswith("; free space or rights there, or pass another folder")


def test_a_file_that_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "x"
    message = f"irv2-convert: error: {path} cannot be written: Not a directory; free space or write elsewhere"
    assert refused("irv2-convert", "--junit", path, "--output-dir", tmp_path / "out") == message
    assert refused("irv2-convert", "describe", "--output", path) == message
    assert not (tmp_path / "out").exists()


def test_too_small_an_input_is_named(tmp_path: Path) -> None:
    assert "74" in refused("irv2-convert", "describe", "--input-size", "74", "--output", tmp_path / "x.svg")


def test_drift_names_what_it_cannot_open(validation_folder: Path, tmp_path: Path) -> None:
    message = refused(
        "irv2-drift",
        tmp_path / "missing.tflite",
        "--reference",
        tmp_path / "float.tflite",
        "--images",
        validation_folder,
    )
    assert "does not exist" in message


def test_inspect_names_a_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("no flatbuffer at all")
    assert "not a TFLite model" in refused("irv2-inspect", tmp_path / "text.tflite", run=run_command)


def test_a_dry_run_says_what_would_be_done() -> None:
    finished = run_here("irv2-convert", "--dry-run", "--quantize", "int8,float16")
    assert finished.code == 0, finished.err
    assert "build/irv2-demo.int8.tflite" in finished.out
    assert "build/irv2-demo.float16.tflite" in finished.out


def test_a_dry_run_says_what_was_recognized(calibration_folder: Path, validation_folder: Path, tmp_path: Path) -> None:
    image = keras.Input((40, 48, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 127.5, -1)(image)))
    keras.Model(image, layers.Dense(3, "softmax")(features)).save(tmp_path / "mine.keras")
    finished = run_here(
        "irv2-convert", "--dry-run", "--model", tmp_path / "mine.keras", "--calibration", calibration_folder,
        "--validation", validation_folder,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert "images:      40x48 RGB, mean 127.5 127.5 127.5, std 127.5 127.5 127.5, stretch, bilinear" in finished.out
    assert "in front:    folded: Rescaling(1/127.5, -1) into the card's mean and std" in finished.out


def test_the_classes_of_weights_are_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = "mine.weights.h5: weights of the article's network with top, saved by Keras, 5 classes; softmax assumed"
    found = Recognition("article", what, (), input_spec("tf", 99, 99), "softmax", 5)
    monkeypatch.setattr(lower, "recognize", lambda request, progress: found)
    (tmp_path / "mine.weights.h5").write_bytes(HDF5_START)
    finished = run_here(
        "irv2-convert", "--dry-run", "--weights", tmp_path / "mine.weights.h5", "--preprocessing", "tf",
        "--quantize", "none", "--no-validate",
    )  # fmt: skip
    assert f"recognized:  {what}\n" in finished.out


def test_imagenet_without_a_network(monkeypatch: pytest.MonkeyPatch, calibration_folder: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "empty"))
    message = refused(
        "irv2-convert", "--model", "imagenet", "--calibration", calibration_folder, "--no-validate",
        "--output-dir", tmp_path / "out", run=run_command,
    )  # fmt: skip
    assert "--model imagenet: imagenet_class_index.json could not be downloaded" in message
    assert "pass --model PATH or --weights FILE" in message
    assert not any((tmp_path / "out").iterdir())


def test_what_cannot_be_loaded_is_named_by_the_worker(tmp_path: Path) -> None:
    """What else cannot be loaded is in tests/convert/keras_models."""
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda x: x + 1)(image))
    keras.Model(image, layers.Dense(3, activation="softmax")(x)).save(tmp_path / "code.keras")
    message = refused(
        "irv2-convert", "--model", tmp_path / "code.keras", "--preprocessing", "tf", "--quantize", "none",
        "--no-validate", "--output-dir", tmp_path / "out", run=run_command,
    )  # fmt: skip
    assert "has a Lambda layer lambda, which is code in the file" in message
    assert not any((tmp_path / "out").iterdir())


def test_a_refusal_by_the_worker_is_one_line_and_its_noise_is_in_its_log(tmp_path: Path) -> None:
    """To have back the error behind the error, this process would import TensorFlow, which prints lines of its own."""

    class CustomScaleLayer(layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs[0]

    keras.saving.register_keras_serializable("mine")(CustomScaleLayer)
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(CustomScaleLayer(name="sum")([image, image]))
    keras.Model(image, layers.Dense(3, "softmax")(x)).save(tmp_path / "mine.h5")
    finished = run_command(
        "irv2-convert", "--model", tmp_path / "mine.h5", "--preprocessing", "tf", "--quantize", "none",
        "--no-validate", "--output-dir", tmp_path / "out",
    )  # fmt: skip
    stages, error = finished.err.splitlines()[:-1], finished.err.splitlines()[-1]
    assert stages == ["loading TensorFlow", "loading the network"]
    assert error.startswith(f"irv2-convert: error: {tmp_path}/mine.h5 has a layer sum of class mine>CustomScaleLayer")


def test_an_error_is_one_in_junit_too(tmp_path: Path) -> None:
    """In place of an earlier run's verdict, which a CI would show otherwise."""
    junit = tmp_path / "convert.xml"
    junit.write_text("<testsuite errors='0'/>")
    line = refused("irv2-convert", "--model", "missing.keras", "--junit", junit)
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("name"), suite.get("tests"), suite.get("errors")) == ("irv2-convert", "1", "1")
    (error,) = suite.iter("error")
    assert line == f"irv2-convert: error: {error.get('message')}"
