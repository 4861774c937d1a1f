"""Names on the page are only ever text, whatever files, labels and layers are called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.reporting import html as page
from tests.convert.comparisons import HOSTILE, everything, report
from tests.convert.reporting.pages import Parsed, file_names, flipped


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_change_nothing_but_text(name: str) -> None:
    """The page has the tags and attributes that it has with harmless names."""
    assert skeleton_with(name) == skeleton_with("harmless")


@settings(max_examples=15)
@given(st.text(st.characters(), min_size=1, max_size=30))
def test_no_name_changes_anything_but_text(name: str) -> None:
    """Any code points, surrogates and controls among them."""
    assert skeleton_with(name) == HARMLESS


def skeleton_with(name: str) -> list[tuple[str, tuple[str, ...]]]:
    """Of a page on which everything is called `name` that a user can name."""
    found = Parsed(page_with(name))
    return found.skeleton


def page_with(name: str) -> str:
    compared = flipped([f"{name.replace('/', '_')}.png"], labels=[name, f"{name}2", "c", "d"])
    value = everything(compared)
    value["artifact"]["path"] = f"build/{name}/{name.replace('/', '_')}.tflite"
    value["scheme"] = name
    value["gate"]["reasons"].append(f"fail: because of {name}")
    value["layers"][-1] |= {"name": name, "operator": name}
    value["blame"][0] |= {"from": name, "to": name}
    value["calibration"]["calibrator"] = name
    value["environment"]["versions"] = {name: name}
    html = page.render(value, compared, [value], thumbnails=True)
    html.encode("utf-8")
    return html


HARMLESS = skeleton_with("harmless")


def test_control_characters_and_surrogates_are_spelled_out() -> None:
    html = page_with("\x1b[2J\x00caf\udce9\u202e")
    assert r"\x1b[2J\x00caf\udce9\u202e" in html
    assert not [character for character in html if not character.isprintable() and character != "\n"]


def test_a_long_name_keeps_the_end_that_tells_it_apart() -> None:
    names = [f"{'holiday_in_the_mountains_' * 3}{i:04}_resized.png" for i in (17, 4017)]
    compared = flipped(names)
    html = page.render(report(compared), compared, thumbnails=False)
    found = Parsed(html)
    assert sorted(file_names(found)) == sorted(names)
    assert "<span>0017_resized.png</span>" in html.replace("<wbr>", "")
