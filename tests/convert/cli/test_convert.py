"""`irv2-convert` as a user runs it, on a small network of the same shape."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from convert.reporting.formatting import milliseconds
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.probe import probe_pixels
from tests.conftest import COLOURS, SIZE, Finished, run_command
from tests.convert.cli.commands import run_here
from tests.convert.cli.conversions import Conversion


@pytest.fixture(scope="module")
def converted(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """The small network, with all fast schemes in one run."""
    folder = tmp_path_factory.mktemp("converted")
    finished = run_command(
        "irv2-convert", "--quantize", "int8,float16,dynamic,none", "--target-runtime", "tflite-runtime-2.14",
        *arguments, "--output-dir", folder
    )  # fmt: skip
    assert finished.code == 0, finished.err
    return Conversion(finished, folder)


def test_every_scheme_becomes_an_artifact_that_passed(converted: Conversion) -> None:
    for scheme in ("int8", "float16", "dynamic", "none"):
        assert open_artifact(converted.artifact(scheme)).card.drift["verdict"] == "pass"  # type: ignore[index]
        assert str(converted.artifact(scheme)) in converted.finished.out


def test_integer_weights_are_a_quarter_as_large(converted: Conversion) -> None:
    sizes = {name: converted.artifact(name).stat().st_size for name in ("int8", "float16", "none")}
    assert sizes["int8"] < 0.5 * sizes["none"]
    assert sizes["float16"] < 0.7 * sizes["none"]


def test_every_convolution_is_int8_with_a_scale_for_each_output_channel(converted: Conversion) -> None:
    graph = converted.graph("int8")
    convolutions = graph.named("CONV_2D")
    assert len(convolutions) == 11 + 7 + 4 + 5 + 7 + 5
    for convolution in convolutions:
        weights, output = convolution.inputs[1], convolution.outputs[0]
        assert graph.dtype(weights) == graph.dtype(output) == "int8"
        scales = graph.scales(weights)
        assert scales is not None
        assert len(scales) == graph.shape(weights)[0]


def test_nothing_computes_in_float_but_the_head_after_the_last_convolution(converted: Conversion) -> None:
    graph = converted.graph("int8")
    floats = [op.name for op in graph.operators if graph.dtype(op.outputs[0]) == "float32"]
    assert floats == ["DEQUANTIZE", "MEAN", "DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]


def test_the_ends_are_contracted(converted: Conversion) -> None:
    graph = converted.graph("int8")
    inputs, outputs = graph.signatures()["serving_default"]
    assert list(inputs) == ["image"]
    assert list(outputs) == ["probabilities"]
    assert graph.shape(inputs["image"]) == (1, SIZE, SIZE, 3)
    assert graph.dtype(inputs["image"]) == "uint8"
    assert graph.dtype(outputs["probabilities"]) == "float32"


def test_the_artifact_tells_colours_apart(converted: Conversion, validation_folder: Path) -> None:
    with Classifier.open(converted.artifact("int8")) as classifier:
        assert classifier.labels == tuple(COLOURS)
        for colour in COLOURS:
            assert classifier.predict(validation_folder / colour / "000.png", top_k=1)[0].label == colour


def test_the_report_says_what_was_measured(converted: Conversion) -> None:
    report = converted.report("int8")
    assert report["gate"]["verdict"] == "pass"
    assert report["drift"]["images"] == 240
    assert report["drift"]["labelled"] is True
    assert report["drift"]["top1_reference"] > 0.9
    assert 10 < report["drift"]["sqnr_db"] < 60
    assert report["artifact"]["bytes"] == converted.artifact("int8").stat().st_size
    assert set(report["timings_s"]) == {
        "lowering", "calibration", "reference", "quantization", "drift"
    }  # fmt: skip


def test_the_card_names_the_oldest_runtime_that_was_measured_to_run_it(converted: Conversion) -> None:
    assert open_artifact(converted.artifact("int8")).card.minimum_runtime.startswith("tflite-runtime-2.")


def test_a_page_lies_beside_every_artifact(converted: Conversion) -> None:
    """With the pictures that changed, and the figures of all schemes of the run."""
    for scheme in ("int8", "float16", "dynamic", "none"):
        report = converted.report(scheme)
        page = converted.artifact(scheme).with_name(f"colours.{scheme}.tflite.report.html").read_text()
        assert f"<title>Pass: colours.{scheme}.tflite</title>" in page
        assert page.count("<img ") == len(report["drift"]["flips"])
        assert page.count(milliseconds(report["latency_ms"])) >= 2
        assert all(f">{other}" in page for other in ("int8", "float16", "dynamic", "none"))
    assert converted.report("none")["latency_ms"] > 0


def test_the_float_artifact_is_its_reference(converted: Conversion) -> None:
    report = converted.report("none")
    assert report["drift"]["agreement_top1"] == 1.0
    assert report["drift"]["flips"] == []


def test_the_card_names_its_sources(converted: Conversion, small_model: Path) -> None:
    import hashlib

    card = open_artifact(converted.artifact("int8")).card
    assert card.source["weights_sha256"] == hashlib.sha256(small_model.read_bytes()).hexdigest()
    assert card.source["keras_sqnr_db"] >= 80
    assert card.calibration is not None
    assert card.calibration["images"] == 60
    assert card.input.encoding == "pixels"


@pytest.mark.parametrize("scheme", ["int8", "float16", "dynamic", "none"])
def test_the_card_knows_what_the_cpu_answers_to_the_probe(converted: Conversion, scheme: str) -> None:
    with Classifier.open(converted.artifact(scheme), delegate="cpu") as classifier:
        assert classifier.artifact is not None
        probe = classifier.artifact.card.probe
        answer = classifier.run(probe_pixels(classifier.spec.height, classifier.spec.width))
    assert probe is not None
    assert probe.probabilities == tuple(answer.tolist())


def test_uint8_ends_feed_the_pixels_themselves(converted: Conversion, validation_folder: Path) -> None:
    """Raw bytes into the int8 network, by hand, give what the classifier gives."""
    from PIL import Image

    from edge_runtime.engines import Engine, choose_engine

    picture = validation_folder / "red" / "001.png"
    engine = Engine(converted.artifact("int8"), choose_engine("litert"), 1)
    by_hand = engine.run(np.asarray(Image.open(picture))[np.newaxis])[0]
    with Classifier.open(converted.artifact("int8"), threads=1) as classifier:
        np.testing.assert_array_equal(classifier.probabilities(picture)[0], by_hand)


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_other_ends(io: str, arguments: list[object], tmp_path: Path, validation_folder: Path) -> None:
    """What passes takes the place of what failed before, and of what was inconclusive."""
    stale = [
        tmp_path / f"colours.int8.{verdict}.tflite{suffix}"
        for verdict in ("failed", "inconclusive")
        for suffix in ("", ".report.json", ".report.html")
    ]
    for path in stale:
        path.write_bytes(b"")
    finished = run_here("irv2-convert", *arguments, "--io", io, "--output-dir", tmp_path)
    assert finished.code == 0, finished.err
    conversion = Conversion(finished, tmp_path)
    graph = conversion.graph("int8")
    assert graph.dtype(graph.inputs[0]) == io
    assert graph.dtype(graph.outputs[0]) == io
    with Classifier.open(conversion.artifact("int8")) as classifier:
        assert classifier.predict(validation_folder / "green" / "000.png")[0].label == "green"
    assert not any(path.exists() for path in stale)


def test_a_failing_artifact_leaves_the_passing_one_alone(converted: Conversion, arguments: list[object]) -> None:
    passing = converted.artifact("int8").read_bytes()
    finished = run_here(
        "irv2-convert", *arguments, "--max-drop", "-50", "--output-dir", converted.folder, "--quantize", "int8"
    )
    assert finished.code == 3
    assert "fail: top-1 drop" in finished.out
    assert converted.artifact("int8").read_bytes() == passing
    assert converted.folder.joinpath("colours.int8.failed.tflite").exists()
    assert f"\nbefore: {converted.artifact('int8')} had passed, and stays\n" in finished.out


def test_too_few_images_are_inconclusive(arguments: list[object], tmp_path: Path) -> None:
    finished = run_here(
        "irv2-convert", *arguments, "--validation-size", "20", "--output-dir", tmp_path, "--quantize", "none", "--json"
    )
    assert finished.code == 4
    (report,) = json.loads(finished.out)
    assert report["gate"]["verdict"] == "inconclusive"
    assert "more images would decide" in " ".join(report["gate"]["reasons"])


@pytest.mark.usefixtures("lowered_at_once")
def test_only_another_pass_takes_the_name_of_an_artifact_that_passed_unless_nobody_asks(
    arguments: list[object], tmp_path: Path
) -> None:
    plain, beside = tmp_path / "colours.none.tflite", tmp_path / "colours.none.inconclusive.tflite"
    few = ("--validation-size", 20)

    def convert(*options: object) -> Finished:
        return run_here("irv2-convert", *arguments, "--quantize", "none", "--output-dir", tmp_path, *options)

    assert convert(*few).code == 4
    assert open_artifact(plain).card.drift["verdict"] == "inconclusive"  # type: ignore[index]
    assert not beside.exists(), "nothing that passed has the name"

    assert convert().code == 0
    passing, report = plain.read_bytes(), Path(f"{plain}.report.json").read_bytes()
    unsure = convert(*few)
    assert unsure.code == 4
    assert (plain.read_bytes(), Path(f"{plain}.report.json").read_bytes()) == (passing, report)
    assert open_artifact(beside).card.drift["verdict"] == "inconclusive"  # type: ignore[index]
    warning, verdict, kept, page, _ = unsure.out.split("\n\n")[-1].splitlines()
    assert warning.startswith("warning: the float network is right on 25% of 20 labelled images, which is chance")
    assert verdict.startswith(f"inconclusive: {beside}, ")
    assert kept == f"before: {plain} had passed, and stays"
    assert page == f"report: {beside}.report.html"
    assert convert(*few, "--json").err.splitlines()[-1] == kept

    assert convert().code == 0
    assert not list(tmp_path.glob("*.inconclusive.*"))
    quiet = convert("--no-validate", "--quiet")
    assert quiet.code == 0, "so the file that the next command opens is this one"
    assert quiet.out.splitlines()[-1] == f"before: {plain} had passed, and was replaced by one that was not measured"
    assert open_artifact(plain).card.drift is None


def test_reference_kernels_see_all_images_that_time_allows(arguments: list[object], tmp_path: Path) -> None:
    finished = run_here("irv2-convert", *arguments, "--quantize", "int16x8", "--output-dir", tmp_path)
    assert finished.code == 0, finished.err
    report = Conversion(finished, tmp_path).report("int16x8")
    assert report["drift"]["images"] == 240
    assert re.search(r"int16x8 runs on reference kernels: about \d+ s for 240 images", finished.err)


def test_reference_kernels_see_as_many_images_as_asked_for(arguments: list[object], tmp_path: Path) -> None:
    options = ("--quantize", "int16x8", "--validation-size", 6, "--output-dir", tmp_path)
    finished = run_here("irv2-convert", *arguments, *options)
    assert finished.code == 4, finished.err
    assert Conversion(finished, tmp_path).report("int16x8")["drift"]["images"] == 6


@pytest.mark.usefixtures("lowered_at_once")
def test_flat_folders_gate_agreement_alone(arguments: list[object], validation_folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in validation_folder.glob("*/*.png"):
        (flat / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    finished = run_here(
        *("irv2-convert", *arguments, "--validation", flat, "--quantize", "none", "--output-dir", tmp_path / "out"),
        "--no-thumbnails",
    )
    assert finished.code == 0, finished.err
    report = Conversion(finished, tmp_path / "out").report("none")
    assert report["drift"]["labelled"] is False
    assert report["drift"]["top1_drop_pp"] is None
    page = (tmp_path / "out" / "colours.none.tflite.report.html").read_text()
    assert "240 unlabelled images" in page
    assert str(tmp_path) not in page, "without thumbnails no folder is told"


def test_nothing_but_results_is_left_behind(converted: Conversion) -> None:
    assert {path.suffix for path in converted.folder.iterdir()} == {".tflite", ".json", ".html"}


def test_tensorflow_stays_silent(converted: Conversion) -> None:
    assert len(converted.finished.err.splitlines()) + len(converted.finished.out.splitlines()) < 100
    assert "tensorflow" not in converted.finished.err.lower().replace("loading tensorflow", "")


def test_drift_gates_the_artifact_against_the_float_one(converted: Conversion, validation_folder: Path) -> None:
    finished = run_command(
        "irv2-drift", converted.artifact("int8"), "--reference", converted.artifact("none"),
        "--images", validation_folder, "--no-stop-early", "--json",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    report = json.loads(finished.out)
    assert report["gate"]["verdict"] == "pass"
    assert report["drift"]["sqnr_db"] == pytest.approx(converted.report("int8")["drift"]["sqnr_db"], abs=1e-6)


def test_the_report_of_a_conversion_blames_its_two_steps(converted: Conversion) -> None:
    lowering, quantizing = converted.report("int8")["blame"]
    assert (lowering["from"], lowering["to"]) == ("Keras", "float TFLite")
    assert lowering["sqnr_db"] > 80
    assert quantizing["sqnr_db"] == converted.report("int8")["drift"]["sqnr_db"]


def test_drift_writes_a_page(converted: Conversion, validation_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    finished = run_here(
        "irv2-drift", converted.artifact("int8"), "--reference", converted.artifact("none"),
        "--images", validation_folder, "--no-stop-early", "--html", page, "--no-thumbnails", "--json",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert json.loads(finished.out)["gate"]["verdict"] == "pass"
    html = page.read_text()
    assert "<title>Pass: colours.int8.tflite</title>" in html
    assert "Drift of the candidate from the reference" in html
    assert str(validation_folder) not in html


def test_a_page_that_cannot_be_written_is_one_line(
    converted: Conversion, validation_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    finished = run_here(
        "irv2-drift", converted.artifact("int8"), "--reference", converted.artifact("int8"),
        "--images", validation_folder, "--images-size", 2, "--html", tmp_path / "file" / "page.html",
    )  # fmt: skip
    assert finished.code == 1
    assert finished.err.count("\n") == 1, "before anything is judged"
    assert "page.html cannot be written" in finished.err


def test_drift_lowers_a_keras_reference(
    converted: Conversion, small_model: Path, validation_folder: Path, colour_labels: Path
) -> None:
    finished = run_here(
        "irv2-drift", converted.artifact("int8"), "--reference", small_model, "--images", validation_folder,
        "--reference-preprocessing", "tf", "--labels", colour_labels, "--no-stop-early",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert "Keras -> float TFLite" in finished.out
    assert finished.out.startswith("pass on 240 images")


def test_drift_sees_a_card_that_lies(
    converted: Conversion, validation_folder: Path, colour_labels: Path, tmp_path: Path
) -> None:
    """The same network with two labels swapped in its card is another network."""
    from dataclasses import replace

    from convert.tflite import artifact_writer

    artifact = open_artifact(converted.artifact("int8"))
    flatbuffer = converted.artifact("int8").read_bytes()[: artifact.flatbuffer_bytes]
    blue, green, red = artifact.labels
    liar = tmp_path / "liar.tflite"
    artifact_writer.write(artifact_writer.Package(flatbuffer, (green, blue, red), replace(artifact.card)), liar)
    finished = run_here("irv2-drift", liar, "--reference", converted.artifact("none"), "--images", validation_folder)
    assert finished.code == 3, finished.err
    assert finished.out.startswith("fail on ")
    assert "of 240 images" in finished.err, "a lie is found out early"


def test_inspect_counts_what_is_in_the_artifact(converted: Conversion) -> None:
    finished = run_command("irv2-inspect", converted.artifact("int8"), "--json")
    assert finished.code == 0, finished.err
    found = json.loads(finished.out)
    assert found["operators"]["CONV_2D"] == 39
    assert found["weights"] == {"CONV_2D int8 per-channel": 39, "FULLY_CONNECTED float16": 1}
    assert found["labels"] == list(COLOURS)
    assert found["checksum"] == "holds"
    shown = run_here("irv2-inspect", converted.artifact("int8"))
    assert "39 x CONV_2D" in shown.out
    assert "checksums hold" in shown.out


def test_the_report_shows_ranges_against_images_and_each_layer(converted: Conversion) -> None:
    report = converted.report("int8")
    convergence = report["calibration"]["convergence"]
    assert [point["images"] for point in convergence] == [1, 2, 4, 8, 16, 32, 60]
    assert convergence[-1]["range_ratio"] == 1.0
    assert 0 <= report["calibration"]["halves_differ"] < 0.5
    assert len(report["layers"]) > 50
    assert converted.report("dynamic")["layers"] == []
    assert converted.report("dynamic")["calibration"] is None
