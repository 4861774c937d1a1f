"""Sections of the page: what each says, and that what is missing is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convert.reporting import sections
from convert.reporting.sections import VERDICTS, Figure
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from tests.convert.comparisons import comparison, report

MEASURED = comparison([0] * 200, [0] * 197 + [1] * 3, [0] * 198 + [1] * 2)
CONTRACTED = (
    "top1_reference", "top1_candidate", "top1_drop_pp", "top1_drop_ci95_pp", "agreement_top1", "agreement_ci95",
    "agreement_top5", "sqnr_db", "cosine_mean", "kl_mean", "max_abs_error",
)  # fmt: skip


def by_title(value: dict[str, Any]) -> dict[str, Figure]:
    return {figure.title: figure for figure in sections.key_figures(value, MEASURED)}


def extended(**drift: Any) -> dict[str, Any]:
    """The report of `MEASURED` with more figures in its drift."""
    value = report(MEASURED)
    return value | {"drift": value["drift"] | drift}


def test_key_figures_are_those_of_the_report() -> None:
    value = report(MEASURED)
    found = by_title(value | {"drift": {key: value["drift"][key] for key in CONTRACTED}})
    assert list(found) == [
        "Top-1 accuracy", "Top-1 agreement", "Changed answers", "SQNR of the logits", "Largest probability error",
        "Size",
    ]  # fmt: skip
    assert found["Top-1 accuracy"].value == "99.00% → 99.50%"
    assert found["Top-1 accuracy"].notes == ("drop -0.50 pp [-2.43, 1.44]",)
    assert found["Top-1 agreement"] == Figure(
        "Top-1 agreement", "98.50%", ("[95.68%, 99.49%]", "100.00% within the top 5")
    )
    assert found["Changed answers"] == Figure("Changed answers", "3 of 200", ("1 lost, 2 gained, 0 still wrong",))
    assert found["Size"] == Figure("Size", "59.6 MB")


def test_what_later_reports_know_is_shown() -> None:
    value = extended(
        top1_drop_p_value=0.0625, top1_drop_bootstrap95_pp=(-2.0, 1.0),
        top5_reference=0.99, top5_candidate=0.98, top5_drop_pp=1.0, top5_drop_ci95_pp=None,
        flips_near_tie=2, flips_confident=1, ece_reference=0.031, ece_candidate=0.0345,
    )  # fmt: skip
    found = by_title(value | {"latency_ms": 17.06})
    assert found["Top-1 accuracy"].notes[1:] == ("bootstrap [-2.00, 1.00]", "exact McNemar p = 0.0625")
    assert found["Top-5 accuracy"] == Figure("Top-5 accuracy", "99.00% → 98.00%", ("drop 1.00 pp",))
    assert found["Changed answers"].notes[1] == "2 near ties, 1 confident"
    assert found["Expected calibration error"].value == "3.10% → 3.45%"
    assert found["Size"].notes == ("17.1 ms per image",)


@pytest.mark.parametrize("key", sorted(report(MEASURED)["drift"]))
@pytest.mark.parametrize("missing", [True, False])
def test_every_figure_may_be_missing_or_none(key: str, missing: bool) -> None:
    value = extended(**{key: None})
    if missing:
        del value["drift"][key]
    assert sections.key_figures(value, MEASURED)[-1].title == "Size"


def test_an_unmeasured_artifact_has_a_size() -> None:
    value = report(None)
    assert sections.key_figures(value, None) == [Figure("Size", "59.6 MB")]
    assert sections.verdict(value) is VERDICTS[None]
    assert sections.reasons(value) == []
    assert sections.summary(value, None) == ["net.int8.tflite", "59.6 MB"]


@pytest.mark.parametrize("verdict", [PASS, FAIL, INCONCLUSIVE])
def test_reasons_begin_with_their_verdict(verdict: str) -> None:
    value = {"gate": {"verdict": verdict, "reasons": [f"{verdict}: top-1: fell", "stopped early: sure", "no colon"]}}
    assert sections.verdict(value) is VERDICTS[verdict]
    assert sections.reasons(value) == [
        (VERDICTS[verdict], "top-1: fell"),
        (None, "stopped early: sure"),
        (None, "no colon"),
    ]


def test_verdicts_are_told_apart_without_colour() -> None:
    for seen in ("word", "tone", "icon", "headline"):
        assert len({getattr(verdict, seen) for verdict in VERDICTS.values()}) == 4


def test_facts_name_what_was_compared() -> None:
    value = report(MEASURED, path="/home/anna/build/net.int8.tflite")
    value["environment"]["versions"] = {"ai-edge-litert": "2.3.0", "numpy": "2.4.6"}
    facts = dict(sections.facts(value, MEASURED, folders=True))
    assert facts["Artifact"] == "/home/anna/build/net.int8.tflite"
    assert facts["SHA-256"] == "e" * 64
    assert facts["Scheme"] == "int8"
    assert facts["Images"] == "200 labelled images"
    assert facts["Image folder"] == str(Path("photos").absolute())
    assert facts["Versions"] == "ai-edge-litert 2.3.0, numpy 2.4.6"
    assert facts["Run time"] == "lowering 24.1 s"
    assert "Unreadable" not in facts
    assert facts["Measured on"].startswith("Python 3.")


def test_facts_name_the_reference_and_the_kind_of_interval() -> None:
    value = extended(interval="anytime") | {"reference": {"path": "/home/anna/ref.npz", "model_sha256": "f" * 64}}
    facts = dict(sections.facts(value, MEASURED, folders=True))
    assert (facts["Reference"], facts["Its SHA-256"]) == ("/home/anna/ref.npz", "f" * 64)
    assert "valid after every image" in facts["Intervals"]
    assert dict(sections.facts(value, MEASURED, folders=False))["Reference"] == "ref.npz"


def test_without_folders_no_fact_has_a_path() -> None:
    facts = sections.facts(report(MEASURED, path="/home/anna/build/net.int8.tflite"), MEASURED, folders=False)
    assert ("Artifact", "net.int8.tflite") in facts
    assert not [value for _, value in facts if "/" in value]


def test_schemes_come_smallest_first() -> None:
    this, large = report(MEASURED), report(None, scheme="none")
    large["artifact"]["bytes"] = 228_832_308
    assert sections.schemes(large, [this]) == [this, large]
    assert sections.schemes(this, []) == []


def test_a_run_that_stopped_early_says_of_how_many_images() -> None:
    images = [
        dict(sections.facts(report(MEASURED) | {"sampling": {"available": n}}, MEASURED, folders=True))["Images"]
        for n in (200, 1000)
    ]
    assert images == ["200 labelled images", "200 labelled images, of 1,000 in a seeded shuffle"]


def test_images_that_could_not_be_read_are_counted() -> None:
    compared = replace(MEASURED, candidate=replace(MEASURED.candidate, skipped=("a.png: damaged", "b.png: damaged")))
    facts = dict(sections.facts(report(MEASURED), compared, folders=True))
    assert facts["Unreadable"] == "2 more images, not counted"
