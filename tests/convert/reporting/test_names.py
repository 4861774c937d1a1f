"""Names on the page: they break between words, and what is left of a long one tells it apart."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.reporting.names import LONGEST_END, SHORTEST_END, breakable, distinguished
from edge_runtime.console import printable
from tests.convert.comparisons import HOSTILE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n02123045_tabby_cat", "n02123045_<wbr>tabby_<wbr>cat"),
        ("bag/test-1.png", "bag/<wbr>test-<wbr>1.png"),
        ("T-shirt, long", "T-<wbr>shirt, long"),
        ("_private_", "_private_"),
        ("tom & jerry", "tom &amp; jerry"),
    ],
)
def test_a_name_may_break_between_words(name: str, expected: str) -> None:
    assert str(breakable(name)) == expected


@given(st.one_of(st.text(), st.sampled_from(HOSTILE)))
def test_breaking_changes_nothing_but_where_a_name_may_break(name: str) -> None:
    markup = str(breakable(name))
    assert html.unescape(markup.replace("<wbr>", "")) == printable(name)
    assert "<" not in markup.replace("<wbr>", "")


def test_the_end_is_what_no_other_name_has() -> None:
    names = ["trip/IMG_0001_front_view_small.jpg", "trip/IMG_0002_front_view_small.jpg"]
    assert [end for _, end in distinguished(names)] == ["0001_front_view_small.jpg", "0002_front_view_small.jpg"]
    assert distinguished(["short.png"]) == [("", "short.png")]


def test_an_end_begins_with_a_word() -> None:
    assert distinguished(["photographs/of_my_coffee_mug.jpeg"])[0][1] == "coffee_mug.jpeg"


@given(st.lists(st.text(max_size=60), max_size=6))
def test_both_parts_are_the_whole_name(names: list[str]) -> None:
    for name, (beginning, end) in zip(names, distinguished(names), strict=True):
        assert beginning + end == printable(name)
        assert len(end) <= LONGEST_END
        assert not beginning or len(end) >= SHORTEST_END
