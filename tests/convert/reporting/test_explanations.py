"""Explanations: short, of every figure once, and of the networks as the reader knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.reporting import html
from convert.reporting.explanations import EXPLANATIONS, IN_GENERAL, explained
from convert.reporting.formatting import WORDS
from convert.reporting.sections import key_figures
from scripts import figures_reference
from tests.convert.comparisons import SIX_LABELS, comparison, report

TEMPLATES = Path(html.__file__).parent / "templates"


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_an_explanation_is_short_and_ends(name: str) -> None:
    text = EXPLANATIONS[name]
    assert len(text) <= 260
    assert text.endswith(".")


def test_networks_are_called_what_the_reader_calls_them() -> None:
    texts = explained("float", "{int8}")
    assert texts["Within the top 5"] == "How often the first class of float is among the first five of {int8}."
    assert "{reference}" not in "".join(texts.values())


def test_what_a_figure_names_is_explained() -> None:
    compared = comparison([0] * 200, [0] * 197 + [1] * 3, [0] * 198 + [1] * 2, labels=SIX_LABELS)
    terms = [term for figure in key_figures(report(compared) | {"latency_ms": 5.7}) for term in figure.terms]
    terms += [term for words in WORDS.values() for term in words.terms]
    assert set(terms) <= set(EXPLANATIONS)
    assert all(figure.terms for figure in key_figures(report(compared)))


def test_no_explanation_is_idle() -> None:
    """Each is named in a template or where the page's sections are made."""
    sources = [*TEMPLATES.glob("*.j2"), *TEMPLATES.parent.glob("*.py")]
    named = "".join(path.read_text("utf-8") for path in sources if path.name != "explanations.py")
    generated = {"Top 5", "Host to device", "Time of an image"}  # f"Top {k}", and capitalized rows of a device
    assert [name for name in EXPLANATIONS if f'"{name}"' not in named and name not in generated] == []


def test_the_docs_have_every_explanation_once() -> None:
    """On a page that is made from them; what is written by hand names it, and a checkout lacks it."""
    generated, docs = figures_reference.markdown(), Path(figures_reference.__file__).parents[1] / "docs"
    assert all(generated.count(f"| {name} | ") == 1 for name in EXPLANATIONS)
    by_hand = (docs / "report.md").read_text("utf-8")
    assert "*What the figures mean*" in by_hand
    assert [name for name, text in explained(*IN_GENERAL).items() if text.split(".")[0] in by_hand] == []
