"""`irv2-convert compare`: what differs between two artifacts, worked out by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.hashing import file_sha256
from tests.conftest import run_command, save_colour_pictures
from tests.convert.cli.commands import run_here
from tests.convert.reporting.described import FEW_CHANGES, LAYERS, MANY_CHANGES, artifact, report_of, with_report
from tests.convert.reporting.test_html import Parsed
from tests.edge_runtime.tiny_model import tiny_artifact


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return with_report(artifact(tmp_path / "good.tflite", FEW_CHANGES), FEW_CHANGES)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Calibrated otherwise, with more noise in one layer, and a layer more."""
    layers = [LAYERS[0], LAYERS[1] | {"own_sqnr_db": 20.0}, LAYERS[0] | {"name": "added"}]
    path = artifact(tmp_path / "bad.tflite", MANY_CHANGES, build={"calibrator": "minmax"})
    return with_report(path, MANY_CHANGES, layers=layers, latency_ms=25.0)


def compared(*arguments: object) -> dict[str, Any]:
    done = run_here("irv2-convert", "compare", *arguments, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_figures_are_those_of_the_reports(good: Path, bad: Path) -> None:
    found = compared(good, bad)
    figures = {pair["key"]: (pair["a"], pair["b"]) for pair in found["figures"]}
    for key, pair in figures.items():
        values: list[Any] = [report_of(good), report_of(bad)]
        for part in key.split("."):
            values = [value[part] for value in values]
        assert pair == tuple(values), key
    assert figures["gate.verdict"] == ("inconclusive", "fail")
    assert figures["drift.agreement_top1"] == (0.99, 0.8)
    assert figures["latency_ms"] == (12.5, 25.0)


def test_options_layers_and_labels(good: Path, bad: Path) -> None:
    found = compared(good, bad)
    assert found["card"] == [{"key": "source.build.calibrator", "a": "mse", "b": "minmax"}]
    assert [pair["key"] for pair in found["layers"]] == ["dense", "added"]
    assert [pair["a"] and pair["a"]["own_sqnr_db"] for pair in found["layers"]] == [33.0, None]
    assert found["labels"] == {"only_a": [], "only_b": [], "same_order": True}
    assert found["answers"] is None


def test_the_text_says_by_how_much(good: Path, bad: Path) -> None:
    lines = run_here("irv2-convert", "compare", good, bad).out.splitlines()
    assert [line.split(", ")[0] for line in lines[:2]] == [f"a: {good}", f"b: {bad}"]
    rows = {line.split("  ")[0].strip(): line for line in lines}
    assert rows["agreement"].split()[1:] == ["99.00%", "80.00%", "-19.00", "pp"]
    assert rows["time per image"].endswith("2.00 times")
    assert rows["verdict"].split() == ["verdict", "inconclusive", "fail"]
    assert rows["dense"].split("  ")[-1].strip() == "int8, 20.0 dB by itself"
    assert rows["added"].split()[1] == "–"


def test_an_artifact_beside_itself_does_not_differ(good: Path) -> None:
    found = compared(good, good)
    assert [pair for pair in found["figures"] if pair["a"] != pair["b"]] == []
    assert (found["card"], found["layers"]) == ([], [])
    text = run_here("irv2-convert", "compare", good, good).out
    assert "made with the same options, sources and versions" in text
    assert "labels: the same" in text


def test_a_report_stands_for_its_artifact(good: Path, bad: Path) -> None:
    beside = compared(good.with_name("good.tflite.report.json"), bad)
    assert beside["card"] == compared(good, bad)["card"], "the artifact is beside it"
    good.unlink()
    alone = compared(good.with_name("good.tflite.report.json"), bad)
    assert alone["labels"] is None
    assert alone["figures"] == beside["figures"]
    shown = run_here("irv2-convert", "compare", f"{good}.report.json", bad)
    assert "labels: not compared, a report alone has none" in shown.out


def test_the_card_alone_has_figures_too(good: Path, bad: Path) -> None:
    with_reports = compared(good, bad)["figures"]
    for path in (good, bad):
        path.with_name(f"{path.name}.report.json").unlink()
    figures = [pair for pair in with_reports if pair["key"] != "latency_ms"]
    assert compared(good, bad)["figures"] == figures


def test_labels_that_only_one_has(good: Path, tmp_path: Path) -> None:
    other = replace(tiny_artifact(), labels=b"red\nblue\nlila\n").signed().write(tmp_path / "other.tflite")
    assert compared(good, other)["labels"] == {"only_a": ["green"], "only_b": ["lila"], "same_order": False}
    moved = replace(tiny_artifact(), labels=b"blue\ngreen\nred\n").signed().write(tmp_path / "moved.tflite")
    assert compared(good, moved)["labels"] == {"only_a": [], "only_b": [], "same_order": False}
    assert "labels: the same, in another order" in run_here("irv2-convert", "compare", good, moved).out


def test_what_cannot_be_compared_is_said(good: Path, tmp_path: Path) -> None:
    other = artifact(tmp_path / "other.tflite", FEW_CHANGES, build={"validation_manifest_sha256": "0" * 64})
    assert compared(good, other)["notes"] == ["the two were measured on different images"]
    source = {"weights_sha256": "1" * 64, "build": {}}
    unknown = artifact(tmp_path / "unknown.tflite", FEW_CHANGES, source=source)
    assert compared(good, unknown)["notes"] == [
        "whether both were measured on the same images is not recorded",
        "the two come from different networks: drift is from the float network of each",
    ]


def test_times_of_two_runs_are_compared_with_a_caution(good: Path, bad: Path, tmp_path: Path) -> None:
    assert compared(good, bad)["notes"] == [
        "each was timed in its own run, beside whatever else ran then: irv2-benchmark times a file again"
    ]
    assert compared(good, good)["notes"] == [], "one run"
    bad.with_name(f"{bad.name}.report.json").unlink()
    assert compared(good, bad)["notes"] == [], "of b no time is known"


def test_equal_outputs_are_no_missing_figure(good: Path, tmp_path: Path) -> None:
    equal = artifact(tmp_path / "equal.tflite", replace(FEW_CHANGES, sqnr_db=float("inf")))
    unmeasured = artifact(tmp_path / "unmeasured.tflite")
    lines = run_here("irv2-convert", "compare", equal, unmeasured).out.splitlines()
    (row,) = (line for line in lines if line.startswith("SQNR"))
    assert "equal outputs" in row
    assert row.rstrip().endswith("–")


def test_people_are_shown_the_beginning_of_a_hash_and_programs_all_of_it(good: Path, tmp_path: Path) -> None:
    """A whole one is broken over lines, and nobody compares 64 digits."""
    build, digest = {"calibration_manifest_sha256": "6f" * 32}, file_sha256(good)
    other = artifact(tmp_path / "other.tflite", FEW_CHANGES, build=build)
    page = tmp_path / "page.html"
    text = run_here("irv2-convert", "compare", good, other, "--html", page).out
    (row,) = (line for line in text.splitlines() if "calibration_manifest_sha256" in line)
    assert row.split()[-2:] == ["–", "6f6f6f6f6f6f"]
    shown = text + Parsed(page.read_text("utf-8")).text
    assert not re.search("[0-9a-f]{13}", shown.replace(str(tmp_path), ""))
    assert f"SHA-256 {digest[:12]}" in shown
    found = compared(good, other)
    assert found["a"]["sha256"] == digest
    assert {"key": "source.build.calibration_manifest_sha256", "a": None, "b": "6f" * 32} in found["card"]


def test_answers_to_the_same_images(tmp_path: Path) -> None:
    network = tiny_artifact().write(tmp_path / "a.tflite")
    liar = replace(tiny_artifact(), labels=b"blue\ngreen\nred\n").signed().write(tmp_path / "b.tflite")
    images = save_colour_pictures(tmp_path / "images", 5, seed=4)
    answers = compared(network, liar, "--images", images)["answers"]
    assert (answers["images"], answers["agreement_top1"]) == (15, pytest.approx(1 / 3))
    assert {(pair["reference"], pair["candidate"], pair["images"]) for pair in answers["confusion"]} == {
        ("red", "blue", 5),
        ("blue", "red", 5),
    }


def test_a_report_alone_has_no_answers(good: Path, bad: Path, tmp_path: Path) -> None:
    good.unlink()
    done = run_here("irv2-convert", "compare", f"{good}.report.json", bad, "--images", tmp_path)
    assert done.code == 2
    assert "--images needs two artifacts" in done.err


def test_the_page_shows_the_same(good: Path, tmp_path: Path) -> None:
    hostile = artifact(tmp_path / "<img src=x>.tflite", FEW_CHANGES, architecture="<script>alert(1)</script>")
    page = tmp_path / "page.html"
    assert run_here("irv2-convert", "compare", good, hostile, "--html", page).code == 0
    parsed = Parsed(page.read_text("utf-8"))
    assert not {"script", "img"} & {tag for tag, _ in parsed.tags}
    assert "<script>alert(1)</script>" in parsed.text
    assert parsed.headings == ["Two artifacts side by side", "Figures", "What they were made with"]
    assert "99.00%" in parsed.text


@pytest.mark.parametrize("name", ["missing.tflite", "missing.json"])
def test_a_missing_file_is_one_line(name: str, good: Path, tmp_path: Path) -> None:
    done = run_here("irv2-convert", "compare", good, tmp_path / name)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)


def test_the_installed_command(good: Path, bad: Path) -> None:
    done = run_command("irv2-convert", "compare", good, bad)
    assert done.code == 0, done.err
    assert "-19.00 pp" in done.out
