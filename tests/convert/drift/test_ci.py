"""What `irv2-drift` leaves for CI: JUnit XML, step summaries, exit codes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from tests.conftest import COLOURS, run_command
from tests.convert.drift.commands import gate


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
    assert "at least 95.00% required" in str(failures[0].get("message"))


def test_what_is_not_certain_is_no_success_in_junit(network: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "drift.xml"
    gate(network, "--reference", network, "--images", images, "--images-size", 10, "--junit", path)
    assert {failure.get("type") for failure in ElementTree.parse(path).getroot().iter("failure")} == {"inconclusive"}


def test_an_error_leaves_no_report_of_an_earlier_run(network: Path, images: Path, tmp_path: Path) -> None:
    junit, page, damaged = tmp_path / "drift.xml", tmp_path / "drift.html", tmp_path / "damaged.tflite"
    outputs = ("--images", images, "--junit", junit, "--html", page)
    assert gate(network, "--reference", network, "--max-drop", 5, *outputs).exit_code == 0
    damaged.write_bytes(network.read_bytes()[:1000])
    assert gate(damaged, "--reference", network, *outputs).exit_code == 1
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "1")
    (case,) = suite.iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("drift.damaged.tflite", "run")
    assert "damaged.tflite" in str(case.findall("error")[0].get("message"))
    assert not page.exists()


def test_a_dry_run_leaves_the_reports(network: Path, images: Path, tmp_path: Path) -> None:
    junit = tmp_path / "drift.xml"
    junit.write_text("earlier")
    done = gate(network, "--reference", network, "--images", images, "--junit", junit, "--dry-run")
    assert (done.exit_code, junit.read_text()) == (0, "earlier")


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
    assert "&lt;img src=x&gt;\\|\\`\\*\\[a\\](b" in text
    assert "\x1b" not in text
    assert "<img" not in text
    assert all(line.count("|") - line.count("\\|") == 4 for line in text.splitlines() if "img" in line)


def test_summaries_are_appended(network: Path, images: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    gate(network, "--reference", network, "--images", images, "--max-drop", 5, GITHUB_STEP_SUMMARY=str(summary))
    before, verdict, *rest = summary.read_text("utf-8").splitlines()
    assert (before, verdict) == ("before", "### ✅ drift of float.tflite: pass")
    assert any(line.startswith("- pass: top-1 agreement 100.00%") for line in rest)


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
