"""`irv2-drift` as CI runs it, on networks so small that each answer can be told by hand; no TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from convert import metrics
from convert.cli_drift import drift
from convert.gate import sequence, stored
from convert.gate.drift import Answers
from convert.image_sets import find_images
from edge_runtime import InputSpec
from tests.conftest import COLOURS, run_command, save_colour_pictures
from tests.edge_runtime.tiny_model import SPEC, tiny_artifact, tiny_flatbuffer


def gate(*arguments: object, **environment: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(drift, [str(argument) for argument in arguments], env={"COLUMNS": "160", **environment})


def refused(*arguments: object) -> str:
    """The one line that a command says on its way out."""
    done = gate(*arguments)
    assert done.exit_code == 1, done.output
    line = done.stderr.splitlines()[-1]
    assert "error: " in line
    assert done.stdout == ""
    return line


def report_of(done: Result) -> dict[str, Any]:
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of each of three colours."""
    return save_colour_pictures(tmp_path_factory.mktemp("drift") / "images", 60, seed=3)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names the colour of a picture, always right."""
    return tiny_artifact().write(tmp_path_factory.mktemp("network") / "float.tflite")


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the label of red and blue exchanged."""
    artifact = tiny_artifact()
    liar = replace(artifact, labels=b"blue\ngreen\nred\n").signed()
    return liar.write(tmp_path_factory.mktemp("worse") / "worse.tflite")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The network without a card."""
    path = tmp_path / "bare.tflite"
    path.write_bytes(tiny_flatbuffer())
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red\ngreen\nblue\n")
    return path


@pytest.fixture(scope="module")
def reference(network: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's answers, stored without a candidate."""
    path = tmp_path_factory.mktemp("stored") / "ref.npz"
    done = gate("--save-reference", path, "--reference", network, "--images", images)
    assert done.exit_code == 0, done.output
    return path


# Verdict and exit code


def test_equal_networks_pass_before_the_last_image(network: Path, images: Path) -> None:
    """Of one agreement after another the gambler is certain when (1 + g / 19)^n, averaged, exceeds 40."""
    done = gate(network, "--reference", network, "--images", images, "--max-drop", 5, "--json")
    report = report_of(done)
    assert (done.exit_code, report["gate"]["verdict"]) == (0, "pass")
    n = report["drift"]["images"]
    assert n < report["sampling"]["available"] == 180
    assert report["drift"]["interval"] == "anytime"
    assert report["drift"]["agreement_ci95"] == list(sequence.rate_interval(n, n))
    limits = report["gate"]["limits"]
    before = sequence.rate_interval(n - 1, n - 1)[0], 100 * sequence.drop_interval(0, 0, n - 1)[1]
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


# Stored references


def test_a_stored_reference_is_the_network(network: Path, worse: Path, reference: Path, images: Path) -> None:
    for candidate in (network, worse):
        by_network, by_file = (
            report_of(gate(candidate, "--reference", side, "--images", images, "--no-stop-early", "--json"))
            for side in (network, reference)
        )
        assert by_network["drift"] == by_file["drift"]
        assert by_network["gate"] == by_file["gate"]
        assert by_network["reference"]["model_sha256"] == by_file["reference"]["model_sha256"]


def test_saving_and_gating_go_together(network: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    done = gate(network, "--reference", network, "--images", images, "--save-reference", path, "--max-drop", 5)
    assert done.exit_code == 0
    assert len(stored.load(path).images) == 180, "an early end of the gate is none of the reference"


def test_a_part_of_the_folder_may_be_stored(network: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    gate("--save-reference", path, "--reference", network, "--images", images, "--images-size", 50)
    arguments = (network, "--reference", path, "--images", images)
    assert gate(*arguments, "--images-size", 50).exit_code == 4
    assert gate(*arguments, "--images-size", 20).exit_code == 4
    assert "is none of its 50 images" in refused(*arguments)


def test_a_reference_must_be_known_by_its_name(network: Path, images: Path, tmp_path: Path) -> None:
    message = refused("--save-reference", tmp_path / "ref.bin", "--reference", network, "--images", images)
    assert "ref.bin must end in .npz" in message
    assert not list(tmp_path.iterdir())


def copied(images: Path, folder: Path) -> Path:
    for path in images.glob("*/*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    return folder


def change(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "red" / "007.png")


def remove(folder: Path) -> None:
    (folder / "red" / "007.png").unlink()


def add(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "red" / "new.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change, "image red/007.png has changed"),
        (remove, "image red/007.png is missing"),
        (add, "red/new.png is none of its 180 images"),
    ],
)
def test_other_images_are_refused_by_name(
    network: Path, reference: Path, images: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = copied(images, tmp_path / "images")
    spoil(folder)
    line = refused(network, "--reference", reference, "--images", folder)
    assert message in line
    assert str(reference) in line


def test_an_unreadable_image_is_skipped_on_both_sides(network: Path, images: Path, tmp_path: Path) -> None:
    folder = copied(images, tmp_path / "images")
    (folder / "red" / "007.png").write_text("no picture")
    path = tmp_path / "ref.npz"
    assert gate("--save-reference", path, "--reference", network, "--images", folder).exit_code == 0
    done = gate(network, "--reference", path, "--images", folder, "--no-stop-early", "--json")
    report = report_of(done)
    assert (report["drift"]["images"], report["sampling"]["available"], report["sampling"]["unreadable"]) == (
        179,
        180,
        1,
    )
    assert "007.png" in done.stderr


def test_other_preprocessing_is_refused_unless_it_is_stated(reference: Path, images: Path, tmp_path: Path) -> None:
    spec = InputSpec(8, 8, (127.5, 127.5, 127.5), (100.0, 127.5, 127.5))
    other = tiny_artifact(spec=spec).write(tmp_path / "other.tflite")
    arguments = (other, "--reference", reference, "--images", images, "--max-drop", 5)
    line = refused(*arguments)
    assert "std [127.5, 127.5, 127.5]" in line
    assert "std [100.0, 127.5, 127.5]" in line
    assert gate(*arguments, "--reference-preprocessing", "tf").exit_code == 0
    assert "--reference-preprocessing" in refused(*arguments, "--reference-preprocessing", "none")


def test_other_classes_are_refused(network: Path, reference: Path, images: Path, bare: Path, tmp_path: Path) -> None:
    names = tmp_path / "other.txt"
    names.write_text("red\ngreen\nviolet\n")
    line = refused(*(bare, "--reference", reference, "--images", images), "--preprocessing", "tf", "--labels", names)
    assert "different labels, only one of them has 'blue'" in line


def test_another_number_of_classes_is_refused(network: Path, images: Path, tmp_path: Path) -> None:
    found = find_images(images)
    rows = np.full((len(found), 2), 0.5, np.float32)
    path = tmp_path / "two.npz"
    stored.save(path, Answers(found.paths, rows, ("red", "blue")), found, SPEC, "0" * 64)
    line = refused(network, "--reference", path, "--images", images)
    assert f"reference {path} has 2 classes, {network} has 3" in line


def rewritten(reference: Path, path: Path, **changed: Any) -> Path:
    """The reference with other arrays."""
    with np.load(reference) as arrays:
        np.savez(path, **{**arrays, **changed})  # type: ignore[arg-type]
    return path


def with_header(reference: Path, path: Path, **changed: Any) -> Path:
    with np.load(reference) as arrays:
        header = json.loads(arrays["header"].tobytes()) | changed
    return rewritten(reference, path, header=np.frombuffer(json.dumps(header).encode(), np.uint8))


def flipped_byte(reference: Path, path: Path) -> Path:
    content = bytearray(reference.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def cut(reference: Path, path: Path) -> Path:
    path.write_bytes(reference.read_bytes()[:-100])
    return path


def pickled(reference: Path, path: Path) -> Path:
    """A pickle that leaves a trace when it is loaded."""
    return rewritten(reference, path, probabilities=np.array([Trace(path.with_name("trace"))], object))


class Trace:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


DAMAGES: dict[str, Callable[[Path, Path], Path]] = {
    "no zip": lambda _, path: (path.write_bytes(b"no reference") and path) or path,
    "empty": lambda _, path: (path.write_bytes(b"") and path) or path,
    "cut": cut,
    "flipped byte": flipped_byte,
    "pickle": pickled,
    "without header": lambda reference, path: (np.savez(path, probabilities=np.zeros((1, 3))), path)[1],
    "other answers": lambda reference, path: rewritten(reference, path, probabilities=np.zeros((180, 3), np.float32)),
    "other labels": lambda reference, path: with_header(reference, path, labels=["x", "y", "z"]),
    "other format": lambda reference, path: with_header(reference, path, format="else"),
    "header of a list": lambda reference, path: rewritten(reference, path, header=np.frombuffer(b"[]", np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_references_are_refused(
    network: Path, reference: Path, images: Path, tmp_path: Path, damage: str
) -> None:
    path = DAMAGES[damage](reference, tmp_path / "damaged.npz")
    line = refused(network, "--reference", path, "--images", images)
    assert f"reference {path} is damaged" in line
    assert "save it again" in line
    assert [found.name for found in tmp_path.iterdir()] == ["damaged.npz"], "nothing in the file was run"


def test_a_newer_format_is_named(network: Path, reference: Path, images: Path, tmp_path: Path) -> None:
    newer = with_header(reference, tmp_path / "newer.npz", version=2)
    assert "format version 2" in refused(network, "--reference", newer, "--images", images)


def test_a_missing_reference_says_how_to_make_one(network: Path, images: Path, tmp_path: Path) -> None:
    line = refused(network, "--reference", tmp_path / "no.npz", "--images", images)
    assert f"write it with --save-reference {tmp_path / 'no.npz'}" in line


def test_no_tensorflow_is_needed(network: Path, reference: Path, images: Path) -> None:
    """In a process of its own: what it imported."""
    code = (
        "import sys; from convert.cli_drift import drift\n"
        "try: drift(sys.argv[1:], standalone_mode=True)\n"
        "finally: print({m for m in ('tensorflow', 'keras', 'ai_edge_quantizer') if m in sys.modules}, file=sys.stderr)"
    )
    done = run_command("python", "-c", code, network, "--reference", reference, "--images", images, "--max-drop", 5)
    assert (done.code, done.err.splitlines()[-1]) == (0, "set()")


# Where CI shows it


def test_junit_has_a_case_for_each_limit(network: Path, worse: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "drift.xml"
    gate(network, "--reference", network, "--images", images, "--max-drop", 5, "--junit", path)
    suite = ElementTree.parse(path).getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "2", "0")
    assert [case.get("name") for case in suite.iter("testcase")] == ["top-1 agreement", "top-1 drop"]
    gate(worse, "--reference", network, "--images", images, "--junit", path)
    suite = ElementTree.parse(path).getroot()
    failures = list(suite.iter("failure"))
    assert suite.get("failures") == str(len(failures))
    assert failures[0].get("type") == "fail"
    assert "at least 95.00% wanted" in str(failures[0].get("message"))


def test_what_is_not_certain_is_no_success_in_junit(network: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "drift.xml"
    gate(network, "--reference", network, "--images", images, "--images-size", 10, "--junit", path)
    assert {failure.get("type") for failure in ElementTree.parse(path).getroot().iter("failure")} == {"inconclusive"}


HOSTILE = "<img src=x>|`*[a](b)\x1b[2J\n@all\x01"


def test_names_can_do_nothing_in_ci(network: Path, worse: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(20):
        Image.new("RGB", (9, 9), COLOURS["red"]).save(folder / f"{HOSTILE.replace('/', '')}{i}.png")
    junit, summary = tmp_path / "drift.xml", tmp_path / "summary.md"
    done = gate(
        *(worse, "--reference", network, "--images", folder, "--junit", junit), GITHUB_STEP_SUMMARY=str(summary)
    )
    assert done.exit_code == 3, done.output
    assert "\x1b" not in done.output
    assert "img src=x" in str(ElementTree.parse(junit).getroot().findtext("system-out")), "it is well-formed"
    text = summary.read_text("utf-8")
    assert "&lt;img src=x&gt;\\|\\`\\*\\[a\\](b" in text.replace("\\(", "(")
    assert "\x1b" not in text
    assert "<img" not in text
    assert all(line.count("|") - line.count("\\|") == 4 for line in text.splitlines() if "img" in line)


def test_summaries_are_appended(network: Path, images: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    gate(network, "--reference", network, "--images", images, "--max-drop", 5, GITHUB_STEP_SUMMARY=str(summary))
    before, verdict, *rest = summary.read_text("utf-8").splitlines()
    assert (before, verdict) == ("before", "### ✅ drift of float.tflite: pass")
    assert any(line.startswith("- pass: top\\-1 agreement 100.00%") for line in rest)


def test_a_summary_that_cannot_be_written_changes_no_verdict(network: Path, images: Path, tmp_path: Path) -> None:
    done = gate(
        *(network, "--reference", network, "--images", images, "--max-drop", 5), GITHUB_STEP_SUMMARY=str(tmp_path)
    )
    assert done.exit_code == 0
    assert "warning: GITHUB_STEP_SUMMARY" in done.stderr


def test_the_installed_command(network: Path, reference: Path, images: Path) -> None:
    finished = run_command("irv2-drift", network, "--reference", reference, "--images", images, "--max-drop", "5")
    assert finished.code == 0, finished.err
    assert finished.out.startswith("pass on ")
    assert "of 180 images" in finished.err
