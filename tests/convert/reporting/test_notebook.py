"""Reports in notebooks: what Jupyter is given is the page, in a frame that keeps it to itself."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from convert import measure_drift
from convert.reporting import html
from tests.conftest import save_colour_pictures
from tests.convert.reporting.outcomes import measured, outcome
from tests.edge_runtime.tiny_model import tiny_artifact


class Frame(HTMLParser):
    """The only element of a fragment."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(fragment)
        ((self.tag, self.attributes),) = self.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def page_of(shown: Any) -> str:
    """The page that a notebook shows of an object."""
    frame = Frame(shown._repr_html_())
    assert frame.tag == "iframe"
    assert frame.attributes["sandbox"] is None, "it may run nothing"
    return str(frame.attributes["srcdoc"])


def test_an_outcome_is_the_page_of_its_report() -> None:
    one = outcome(drift=measured())
    assert page_of(one) == html.render(one.to_json(), None)
    assert "Not measured" in page_of(outcome())


def test_an_outcome_shows_the_page_beside_its_artifact_unless_that_is_of_another(tmp_path: Path) -> None:
    one = replace(outcome(drift=measured()), path=tmp_path / "net.int8.tflite")
    beside = html.beside(one.path)
    beside.write_text(f"<p>page of {one.sha256}</p>", "utf-8")
    assert page_of(one) == beside.read_text("utf-8")
    beside.write_text("<p>page of another</p>", "utf-8")
    assert page_of(one).startswith("<!DOCTYPE html>")


def test_a_drift_check_is_the_page_of_its_report(tmp_path: Path) -> None:
    network = tiny_artifact().write(tmp_path / "net.tflite")
    found = measure_drift(network, network, save_colour_pictures(tmp_path / "images", 2, seed=1))
    assert page_of(found) == html.render(found.report, found.assessment.comparison)
