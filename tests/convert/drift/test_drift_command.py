"""`irv2-drift` as CI runs it, on networks so small that each answer can be told by hand; no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from convert.statistics import confidence_sequence, metrics
from tests.convert.drift.commands import copied, gate, refused, report_of
from tests.edge_runtime.tiny_model import tiny_artifact, tiny_flatbuffer


def test_equal_networks_pass_before_the_last_image(network: Path, images: Path) -> None:
    """Of one agreement after another the gambler is certain when (1 + g / 19)^n, averaged, exceeds 40."""
    done = gate(network, "--reference", network, "--images", images, "--max-drop", 5, "--json")
    report = report_of(done)
    assert (done.exit_code, report["gate"]["verdict"]) == (0, "pass")
    n = report["drift"]["images"]
    assert n < report["sampling"]["available"] == 180
    assert report["drift"]["interval"] == "anytime"
    assert report["drift"]["agreement_ci95"] == list(confidence_sequence.rate_interval(n, n))
    limits = report["gate"]["limits"]
    before = confidence_sequence.rate_interval(n - 1, n - 1)[0], 100 * confidence_sequence.drop_interval(0, 0, n - 1)[1]
    assert before[0] < limits["min_agreement"] or before[1] > limits["max_drop_pp"], "it stopped at the first image"


def test_all_images_are_judged_by_the_narrower_interval(network: Path, images: Path) -> None:
    done = gate(network, "--reference", network, "--images", images, "--no-stop-early", "--json")
    report = report_of(done)
    assert (report["drift"]["images"], report["drift"]["interval"]) == (180, "fixed")
    assert report["drift"]["agreement_ci95"] == list(metrics.wilson_interval(180, 180))
    assert report["drift"]["top1_drop_p_value"] == 1


def test_exchanged_labels_fail_within_a_few_images(network: Path, worse: Path, images: Path) -> None:
    done = gate(worse, "--reference", network, "--images", images, "--json")
    assert done.exit_code == 3
    assert report_of(done)["drift"]["images"] < 30, "in a shuffle; the first 60 of the folder are of one colour"


def test_too_few_images_say_how_many_more(network: Path, images: Path) -> None:
    done = gate(network, "--reference", network, "--images", images, "--images-size", 10)
    assert done.exit_code == 4
    assert done.stdout.startswith("inconclusive on 10 images")
    assert "more images would decide" in done.stdout


def test_as_many_more_images_as_said_are_enough(network: Path, images: Path) -> None:
    arguments = (network, "--reference", network, "--images", images, "--max-drop", 10, "--images-size")
    more = int(gate(*arguments, 50).stdout.split("about ")[1].split()[0])
    assert gate(*arguments, 50 + more).exit_code == 0


def test_the_word_gate_may_be_said(network: Path, images: Path) -> None:
    said, unsaid = (
        gate(*word, network, "--reference", network, "--images", images, "--json") for word in (["gate"], [])
    )
    assert report_of(said)["drift"] == report_of(unsaid)["drift"]


def test_nothing_to_compare_is_wrong_usage(network: Path, images: Path) -> None:
    done = gate("--reference", network, "--images", images)
    assert done.exit_code == 2
    assert "CANDIDATE is missing" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--shard", "1/2", "--json"],
        ["--shard", "1/2", "--junit", "x.xml"],
        ["--shard", "1/2", "--scheduler", "tcp://x:1"],
        ["--shard", "1/2", "--recorded", "x.json"],
        ["--scheduler", "tcp://x:1", "--reference-kernels"],
        ["--rows", "x.json"],
    ],
    ids=" ".join,
)
def test_options_that_would_be_ignored_are_wrong_usage(network: Path, images: Path, options: list[str]) -> None:
    done = gate(network, "--reference", network, "--images", images, *options)
    assert done.exit_code == 2
    assert "go with" in done.stderr or "goes with" in done.stderr


def test_the_page_says_how_many_images_could_not_be_read(network: Path, images: Path, tmp_path: Path) -> None:
    folder = copied(images, tmp_path / "images")
    (folder / "red" / "007.png").write_text("no picture")
    page = tmp_path / "drift.html"
    gate(network, "--reference", network, "--images", folder, "--no-stop-early", "--html", page)
    assert "1 more images, not counted" in page.read_text("utf-8")


# Models without a card


def test_a_bare_model_needs_preprocessing_and_labels(bare: Path, labels: Path, network: Path, images: Path) -> None:
    arguments = (bare, "--reference", network, "--images", images, "--max-drop", 5)
    assert "--preprocessing" in refused(*arguments)
    assert gate(*arguments, "--preprocessing", "tf", "--labels", labels).exit_code == 0


def test_a_file_may_say_how_images_are_prepared(
    bare: Path, labels: Path, network: Path, images: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"mean": [127.5] * 3, "std": [127.5] * 3, "channel_order": "BGR"}))
    done = gate(bare, "--reference", network, "--images", images, "--preprocessing", own, "--labels", labels, "--json")
    assert (done.exit_code, report_of(done)["gate"]["verdict"]) == (3, "fail"), "blue is taken for red"


def test_the_reference_has_preprocessing_of_its_own(bare: Path, labels: Path, network: Path, images: Path) -> None:
    arguments = (network, "--reference", bare, "--images", images, "--labels", labels, "--max-drop", 5)
    assert gate(*arguments, "--reference-preprocessing", "tf").exit_code == 0
    assert gate(*arguments, "--reference-preprocessing", "caffe").exit_code == 3
    wrong = gate(*arguments, "--reference-preprocessing", "torchvision")
    assert wrong.exit_code == 1
    assert "--reference-preprocessing torchvision is neither tf, caffe" in wrong.stderr


def test_answers_that_are_no_numbers_are_an_error(network: Path, images: Path, tmp_path: Path) -> None:
    broken = replace(tiny_artifact(), flatbuffer=tiny_flatbuffer(bias=float("nan"))).signed()
    path = broken.write(tmp_path / "nan.tflite")
    assert f"{path} answers" in refused(path, "--reference", network, "--images", images)
    assert "NaN" in refused("--save-reference", tmp_path / "r.npz", "--reference", path, "--images", images)
    assert not (tmp_path / "r.npz").exists()


def test_names_cannot_steer_the_terminal(network: Path, images: Path, tmp_path: Path) -> None:
    line = refused(tmp_path / "x\x1b[2J.tflite", "--reference", network, "--images", images)
    assert "x\\x1b[2J.tflite does not exist" in line
    folder = copied(images, tmp_path / "images")
    (folder / "red" / "bad\x1b[2J.png").write_text("no picture")
    done = gate(network, "--reference", network, "--images", folder, "--no-stop-early")
    assert "\x1b" not in done.output
    assert "skipped" in done.stderr


def test_an_agreement_that_is_a_fraction_is_refused(network: Path, images: Path) -> None:
    """Reports have it as 0.95; as a limit in percent that would let everything pass."""
    done = gate(network, "--reference", network, "--images", images, "--min-agreement", 0.95)
    assert done.exit_code == 2
    assert "0.95 is less than 1 %: it is in percent, so pass 95" in done.stderr


def test_a_reference_that_makes_the_comparison_empty_is_said(
    network: Path, worse: Path, images: Path, tmp_path: Path
) -> None:
    """In the report, and in JUnit; with --quiet, too."""
    junit = tmp_path / "drift.xml"
    same = gate(network, "--reference", network, "--images", images, "--quiet", "--junit", junit)
    warning = "the reference is the candidate itself, so nothing is compared: pass the float network"
    assert f"warning: {warning}" in same.stdout
    assert warning in junit.read_text()
    assert report_of(gate(worse, "--reference", network, "--images", images, "--json"))["warnings"] == [
        "the candidate has the reference's labels in another order: classes are compared by name; check --labels"
    ]
    tiny = tiny_artifact()
    quantized = replace(tiny, card=replace(tiny.card, scheme="int8")).signed().write(tmp_path / "int8.tflite")
    assert report_of(gate(network, "--reference", quantized, "--images", images, "--json"))["warnings"] == [
        "the reference is quantized, and what it lost itself is not counted: pass the float network"
    ]


def test_the_verdict_is_the_last_line_too(network: Path, images: Path) -> None:
    done = gate(network, "--reference", network, "--images", images, "--max-drop", 5)
    assert done.stdout.splitlines()[-1].startswith("pass on ")
