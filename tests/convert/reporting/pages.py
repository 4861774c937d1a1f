"""Pages as a browser would parse them."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from convert.drift.comparison import Comparison
from convert.reporting import html as page
from tests.convert.comparisons import LABELS, answers


class Parsed(HTMLParser):
    """A page taken apart: its tags with their attributes, in order, its text, and its headings below the first."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.headings: list[str] = []
        self._open_heading = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "wbr":  # no space: the word goes on
            self.text = self.text.removesuffix(" ")
        self._open_heading = tag in ("h2", "h3")

    def handle_endtag(self, tag: str) -> None:
        self._open_heading = False

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "
        if self._open_heading:
            self.headings.append(data)

    @property
    def skeleton(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tags and the names of their attributes, but for places where a word may break."""
        return [(tag, tuple(attributes)) for tag, attributes in self.tags if (tag, attributes) != ("wbr", {})]

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def flipped(names: Sequence[str], labels: Sequence[str] = LABELS, folder: Path = Path("/photos")) -> Comparison:
    """A comparison in which the answer to every image changed."""
    paths = [folder / name for name in names]
    reference = answers([0] * len(paths), labels=labels, paths=paths)
    return Comparison(reference, answers([1] * len(paths), labels=labels, paths=paths), [1] * len(paths))


def file_names(found: Parsed) -> list[str | None]:
    """Whole names of the images that are shown."""
    return [each["title"] for each in found.every("p") if "title" in each]


def words(value: dict[str, Any], compared: Comparison | None = None, others: Sequence[dict[str, Any]] = ()) -> str:
    """The text of a page, with one space between words."""
    return " ".join(Parsed(page.render(value, compared, others)).text.split())
