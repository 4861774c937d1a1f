"""Sections of the page: what each says, and that what is missing is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convert.reporting import sections
from convert.reporting.sections import VERDICTS, Figure
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from tests.convert.comparisons import SIX_LABELS, comparison, report

THREE_CHANGES = ([0] * 200, [0] * 197 + [1] * 3, [0] * 198 + [1] * 2)
MEASURED, OF_FOUR = comparison(*THREE_CHANGES, labels=SIX_LABELS), comparison(*THREE_CHANGES)


def by_title(value: dict[str, Any]) -> dict[str, Figure]:
    return {figure.title: figure for figure in sections.key_figures(value)}


def extended(**drift: Any) -> dict[str, Any]:
    """The report of `MEASURED` with other figures in its drift."""
    value = report(MEASURED)
    return value | {"drift": value["drift"] | drift}


def test_key_figures_are_those_of_the_report() -> None:
    found = by_title(extended(top1_drop_p_value=None, top1_drop_bootstrap95_pp=None))
    assert list(found) == [
        "Top-1 accuracy", "Top-1 agreement", "Changed answers", "Top-5 accuracy", "SQNR of the logits",
        "Largest probability error", "Expected calibration error", "Size",
    ]  # fmt: skip
    assert found["Top-1 accuracy"].value == "99.00% → 99.50%"
    assert found["Top-1 accuracy"].notes == ("drop -0.50 pp [-2.43, 1.44]",)
    assert found["Top-1 agreement"] == Figure(
        "Top-1 agreement",
        "98.50%",
        (
            *("[95.68%, 99.49%]", "100.00% within the top 5"),
            "agreement, lead of 10 points: 98.50% [95.68%, 99.49%] of 200 images",
        ),
        ("Agreement", "95% interval", "Within the top 5", "Lead of 10 points"),
    )
    assert found["Changed answers"].value == "3 of 200"
    assert found["Changed answers"].notes == ("1 lost, 2 gained, 0 still wrong", "0 near ties, 3 confident")
    assert found["Size"] == Figure("Size", "59.6 MB", terms=("Size",))


def test_among_five_classes_or_fewer_nothing_is_said_of_the_top_5() -> None:
    """Where every class is among the first five."""
    value = report(OF_FOUR)
    assert value["drift"]["agreement_top5"] == value["drift"]["top5_candidate"] == 1, "programs are told"
    assert not [figure for figure in sections.key_figures(value) if "top" in str(figure).lower().replace("top-1", "")]
    assert "Top-1 accuracy" in by_title(value)


def test_changes_are_lost_gained_or_still_wrong() -> None:
    compared = comparison([0, 0, 1, 2, 2, 3], [0, 1, 1, 3, 2, 2], [0, 0, 1, 3, 0, 1])
    assert by_title(report(compared))["Changed answers"].notes[0] == "1 lost, 1 gained, 1 still wrong"


def test_figures_of_a_number_of_images_that_was_fixed_are_shown() -> None:
    value = extended(
        top1_drop_p_value=0.0625, top1_drop_bootstrap95_pp=(-2.0, 1.0),
        top5_reference=0.99, top5_candidate=0.98, top5_drop_pp=1.0, top5_drop_ci95_pp=(-0.5, 2.5),
        flips_near_tie=2, flips_confident=1, ece_reference=0.031, ece_candidate=0.0345,
    )  # fmt: skip
    found = by_title(value | {"latency_ms": 17.06})
    assert found["Top-1 accuracy"].notes[1:] == ("bootstrap [-2.00, 1.00]", "exact McNemar p = 0.0625")
    assert found["Top-5 accuracy"].value == "99.00% → 98.00%"
    assert found["Top-5 accuracy"].notes == ("drop 1.00 pp [-0.50, 2.50]",)
    assert found["Top-1 accuracy"].terms == ("Accuracy", "Drop", "95% interval", "Bootstrap", "McNemar's p")
    assert found["Changed answers"].notes[1] == "2 near ties, 1 confident"
    assert found["Expected calibration error"].value == "3.10% → 3.45%"
    assert found["Size"].notes == ("17.1 ms per image",)
    found = by_title(value | {"latency_ms": 5.7, "float_latency_ms": 9.12})
    assert found["Size"].notes == ("5.7 ms per image, 1.6 times as fast as float (9.1 ms)",)


def test_without_labels_no_accuracy_is_shown() -> None:
    found = by_title(report(comparison([0] * 200, [0] * 197 + [1] * 3)))
    assert list(found) == [
        "Top-1 agreement", "Changed answers", "SQNR of the logits", "Largest probability error", "Size",
    ]  # fmt: skip
    assert found["Changed answers"].notes == ("0 near ties, 3 confident",)


def test_an_unmeasured_artifact_has_a_size() -> None:
    value = report(None)
    assert sections.key_figures(value) == [Figure("Size", "59.6 MB", terms=("Size",))]
    assert sections.verdict(value) is VERDICTS[None]
    assert sections.reasons(value) == []
    assert sections.summary(value) == ["net.int8.tflite", "59.6 MB"]


@pytest.mark.parametrize("verdict", [PASS, FAIL, INCONCLUSIVE])
def test_reasons_begin_with_their_verdict(verdict: str) -> None:
    value = {"gate": {"verdict": verdict, "reasons": [f"{verdict}: top-1: fell", "pass: agreement"]}}
    assert sections.verdict(value) is VERDICTS[verdict]
    assert sections.reasons(value) == [(VERDICTS[verdict], "top-1: fell"), (VERDICTS[PASS], "agreement")]


def test_warnings_come_first_also_where_nothing_was_judged() -> None:
    value = {"gate": None, "warnings": ["check --preprocessing"]}
    assert sections.reasons(value) == [(sections.WARNING, "check --preprocessing")]
    assert sections.WARNING.word == "Warning"
    judged = {"gate": {"verdict": PASS, "reasons": ["pass: agreement"]}, "warnings": ["check --preprocessing"]}
    assert [style.word for style, _ in sections.reasons(judged)] == ["Warning", "Pass"]


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
