"""Charts: well-formed SVG that carries its words, takes the page's colours, and touches nothing else of the page."""

from __future__ import annotations

import gc
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from convert.reporting import charts

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"


def scatter(images: int = 40, description: str = "words") -> Markup:
    random = np.random.default_rng(5)
    changed = np.arange(images) % 10 == 0
    return charts.confidence_scatter(random.random(images), random.random(images), changed, description)


ALL = {
    "scatter": scatter,
    "depth": lambda: charts.depth_profile([40.0, None, 31.5, float("inf"), 20.0], "words"),
    "convergence": lambda: charts.convergence([1, 10, 100], [0.4, 0.9, 1.0], "words"),
}


@pytest.mark.parametrize("draw", ALL.values(), ids=ALL)
def test_a_chart_is_an_image_with_words(draw: object) -> None:
    root = ElementTree.fromstring(draw())  # type: ignore[operator]
    assert root.tag == f"{SVG}svg"
    assert (root.get("role"), root.get("aria-label")) == ("img", "words")


@pytest.mark.parametrize("draw", ALL.values(), ids=ALL)
def test_a_chart_takes_its_colours_from_the_page(draw: object) -> None:
    text = draw()  # type: ignore[operator]
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", text))
    assert colours - {"none"} <= {f"var({name})" for name in charts.PROPERTIES.values()}
    assert "#01" not in text


@pytest.mark.parametrize("draw", ALL.values(), ids=ALL)
def test_a_chart_touches_nothing_else_of_the_page(draw: object) -> None:
    """No style sheet, which would count for the whole page; nothing from elsewhere; no id without a use."""
    root = ElementTree.fromstring(draw())  # type: ignore[operator]
    elements = list(root.iter())
    assert not {f"{SVG}style", f"{SVG}script", f"{SVG}metadata", f"{SVG}image"} & {each.tag for each in elements}
    links = {each.get(XLINK) for each in elements} - {None}
    assert all(str(link).startswith("#") for link in links)
    ids = [each.get("id") for each in elements if each.get("id")]
    clips = {found for each in elements for found in re.findall(r"url\(#(\w+)\)", each.get("clip-path", ""))}
    assert set(ids) == {str(link)[1:] for link in links} | clips
    assert len(ids) == len(set(ids))


def test_charts_on_one_page_share_no_id() -> None:
    ids = [re.findall(r'id="([^"]+)"', draw()) for draw in ALL.values()]
    together = [each for chart in ids for each in chart]
    assert len(together) == len(set(together))


def test_the_same_figures_make_the_same_chart() -> None:
    assert scatter() == scatter()


def test_the_words_are_only_ever_text() -> None:
    words = "<script>alert(1)</script> & \"quoted\" 'so' #010101"
    root = ElementTree.fromstring(scatter(description=words))
    assert root.get("aria-label") == words
    assert f"{SVG}script" not in {each.tag for each in root.iter()}


def test_of_many_images_a_sample_is_drawn() -> None:
    assert scatter(20 * charts.MOST_POINTS).count("<use") < 2.2 * charts.MOST_POINTS
    few, more = scatter(100).count("<use"), scatter(150).count("<use")
    assert more - few == 50, "of few every one"


def test_a_layer_without_a_figure_leaves_a_gap() -> None:
    """One line in two pieces."""
    root = ElementTree.fromstring(charts.depth_profile([40.0, 35.0, None, 31.0, 30.0], "words"))
    line = max((each.get("d", "") for each in root.iter(f"{SVG}path")), key=lambda d: d.count("M"))
    assert line.count("M") == 2


def test_the_lowest_layers_come_lowest_first() -> None:
    values = [30.0, None, 12.0, float("inf"), 11.0, float("nan"), -3.0, 0.0]
    assert charts.lowest_layers(values) == [6, 7, 4, 2, 0]
    assert charts.lowest_layers(values, most=2) == [6, 7]
    assert charts.lowest_layers([None, float("inf")]) == []


def test_charts_leave_no_figure_open() -> None:
    """A run over many schemes draws many: pyplot would keep each of them."""
    scatter()
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Figure)]
