"""Label files in whatever form people have them, see `_label_forms`."""

from __future__ import annotations

import codecs
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime._label_forms import LabelEntry, entries_of, lines_of
from edge_runtime._label_languages import LabelError
from edge_runtime.errors import ArtifactError
from edge_runtime.nearby import did_you_mean

MAX_BYTES = 8 * 2**20
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a file may begin with, and the encoding that it announces; one mark of UTF-32 begins as that of UTF-16 does."""


@dataclass(frozen=True)
class Labels:
    """A different name for each class, in the order of the classes.

    Attributes:
        form: what was recognised, such as "one a line".
        wordnet: the WordNet number of each class, if the file has one for each; else empty.
        twice: names that the file has several times; in `names` they differ.
    """

    names: tuple[str, ...]
    form: str
    wordnet: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()

    @property
    def by_wordnet(self) -> dict[str, str]:
        """Return the names by their WordNet numbers, by which many people call their class folders."""
        return dict(zip(self.wordnet, self.names, strict=True)) if self.wordnet else {}


def read_labels(path: str | os.PathLike[str], option: str = "--labels") -> Labels:
    """Return the labels of a file, which `option` names.

    Raises:
        ArtifactError: the file cannot be read, is empty, or its numbers are no order of classes.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            what = "is no text" if b"\0" in data[:4096] else f"has more than {MAX_BYTES:,} bytes"
            raise ArtifactError(f"{option} {path} {what}: pass a file of labels")
        return parse_labels(decode(data), Path(path).suffix.lower())
    except OSError as error:
        why = f"{error.strerror}{did_you_mean(Path(path))}"
        raise ArtifactError(f"{option} {path} cannot be read: {why}; pass a file of labels") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{option} {path} cannot be read as UTF-8 text: {error}") from error
    except LabelError as error:
        raise ArtifactError(f"{option} {path} {error}") from error


def decode(data: bytes) -> str:
    """Return the text of a file in UTF-8, or in the encoding that its byte order mark announces."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    return data.decode(BYTE_ORDER_MARKS.get(mark, "utf-8"))


def parse_labels(text: str, suffix: str = ".txt") -> Labels:
    """Return the labels in the text of a file with this suffix; raise `LabelError` if it holds none."""
    if "\0" in text or text.startswith("PK\3\4"):
        raise LabelError("is no text: save it as CSV or as text in UTF-8")
    if not text.strip():
        raise LabelError("is empty: write one label a line")
    return _labels(*entries_of(text, suffix))


def parse_lines(text: str) -> Labels:
    """Return the labels of a text of lines alone; raise `LabelError` if it holds none."""
    if not text.strip():
        raise LabelError("is empty: write one label a line")
    return _labels(*lines_of(text))


def _labels(entries: Sequence[LabelEntry], form: str) -> Labels:
    names = [_clean(entry.name) for entry in entries]
    if not all(names):
        raise LabelError(f"has no name for class {names.index('')}: every class needs a label")
    wordnet = tuple(entry.wordnet for entry in entries) if all(entry.wordnet for entry in entries) else ()
    count = Counter(names)
    return Labels(told_apart(names, wordnet), form, wordnet, tuple(name for name in count if count[name] > 1))


def told_apart(names: Sequence[str], wordnet: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names, all different: one that occurs twice gets its WordNet number, or else (2), (3) from then on.

    ImageNet has two pairs: crane the bird and the machine, and two kinds of maillot.
    """
    count, taken, apart = Counter(names), set(names), list[str]()
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if count[name] == 1 or (seen[name] == 1 and not wordnet):
            apart.append(name)
            continue
        new = f"{name} ({wordnet[i] if wordnet else seen[name]})"
        while new in taken:
            seen[name] += 1
            new = f"{name} ({seen[name]})"
        taken.add(new)
        apart.append(new)
    return tuple(apart)


def count_advice(labels: int, classes: int) -> str:
    """Return what to do about a number of labels that is not that of the classes."""
    if classes == labels + 1:
        return "pass one for each class; if the first class is the background, put a line 'background' at the top"
    if classes == labels - 1:
        return "pass one for each class; take out a header or a background class, if the file has one"
    return "pass one for each class"


def _clean(name: str) -> str:
    """Return a name in one line, with accents composed, as all systems but macOS write them."""
    stripped = unicodedata.normalize("NFC", name).strip().strip("\u200b\u2060\ufeff").strip()
    return stripped if len(stripped.splitlines()) < 2 else " ".join(stripped.split())
