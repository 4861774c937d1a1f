"""Label files in whatever form people have them: one label a line, numbered, CSV, JSON, or as Python prints them.

Label maps of TensorFlow and lists in YAML are read by `edge_runtime._label_maps`.

The place of a name is its class, so whatever says another order (numbers in front, an index, a dictionary) is checked
and obeyed. `LINE_FORMS` and `VALUE_FORMS` list the forms.
"""

from __future__ import annotations

import ast
import codecs
import csv
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edge_runtime._label_maps import label_map, yaml_names
from edge_runtime.errors import ArtifactError

MAX_BYTES = 8 * 2**20
LONGEST_LINE = 2000
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a file may begin with, and the encoding that it announces; one mark of UTF-32 begins as that of UTF-16 does."""

WORDNET = re.compile(r"n\d{8}")
NUMBER_FIRST = re.compile(
    r"[\[(#]?(?P<number>\d+)(?:(?P<clear>\s*(?:[=-]>|[:,;=)\]\t|])\s*|\.\s+|\s+[-–]\s+)|\s+)(?P<name>\S.*)"
)
NUMBER_LAST = re.compile(r"(?P<name>.*\S.*)(?P<clear>[:,;=\t])\s*(?P<number>\d+)")
WORDNET_FIRST = re.compile(r"(?P<wordnet>n\d{8})(?:\s*[:,;\t]\s*|\s+)(?P<name>\S.*)")
QUOTED = re.compile(r"(?P<quote>['\"])(?P<name>.*)(?P=quote)\s*,?")
NEIGHBOURS = re.compile(r"(?<=['\"])\s+(?=['\"])")
"""Where NumPy prints no comma: ['cat' 'dog']."""
ASSIGNED = re.compile(r"[A-Za-z_]\w*\s*=\s*(?=[\[{(])")
"""What stands before a list that was copied from a program: "class_names = "."""

WRAPPERS = ("class_indices", "class_names", "id2label", "class_to_idx", "idx_to_class", "labels", "names", "classes")
"""Keys under which other tools' files (config.json, say) hold their labels."""

COLUMN_KINDS: tuple[Callable[[str], object], ...] = (str.isdecimal, WORDNET.fullmatch)
"""What is true of every cell of a column of indices, and of one of WordNet numbers."""

NAME_COLUMNS = ("name", "label", "class_name", "class", "classname", "labels", "category", "display_name")
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}


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

    def notes(self, file: str) -> list[str]:
        """Return what there is to tell: what the file was taken for, and which names were changed."""
        lines = [f"{file}: {len(self.names)} labels, {self.form}"]
        if self.twice:
            changed = [repr(name) for name in self.names if name.startswith(f"{self.twice[0]} (")]
            more = f", and {len(self.twice) - 1} more names" if len(self.twice) > 1 else ""
            lines.append(f"{file}: {self.twice[0]!r} several times, told apart as {' and '.join(changed)}{more}")
        return lines


class LabelError(ValueError):
    """A text is no list of labels; the message is what follows the name of its file."""


class LabelEntry(NamedTuple):
    """A class as a file has it."""

    name: str
    wordnet: str = ""


def read_labels(path: str | os.PathLike[str], option: str = "--labels") -> Labels:
    """Return the labels of a file, which `option` names.

    Raises:
        ArtifactError: the file cannot be read, is empty, or its numbers are no order of classes.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ArtifactError(f"{option} {path} has more than {MAX_BYTES:,} bytes: pass a file of labels")
        return parse_labels(decode(data), Path(path).suffix.lower())
    except OSError as error:
        raise ArtifactError(f"{option} {path} cannot be read: {error.strerror}; pass a file of labels") from error
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
    found = _from_map(text, suffix) or _from_value(text, suffix) or _from_table(text, suffix) or _from_lines(text)
    return _labels(*found)


def parse_lines(text: str) -> Labels:
    """Return the labels of a text of lines alone; raise `LabelError` if it holds none."""
    if not text.strip():
        raise LabelError("is empty: write one label a line")
    return _labels(*_from_lines(text))


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


def _from_lines(text: str) -> tuple[list[LabelEntry], str]:
    entries = [LabelEntry(line.strip()) for line in text.splitlines() if line.strip()]
    longest = max(entries, key=lambda entry: len(entry.name)).name
    if len(longest) > LONGEST_LINE:
        raise LabelError(f"has a line of {len(longest):,} characters, {longest[:20]!r}...: write one label a line")
    said = []
    for what, form in LINE_FORMS:
        found = form(entries)
        if found is not None:
            entries = found
            said.append(what)
    return entries, " ".join(["one a line", *said])


def _numbered(pattern: re.Pattern[str], entries: list[LabelEntry]) -> list[LabelEntry] | None:
    """Return the entries without their numbers, sorted by them; None if not all lines have numbers that are an order.

    Numbers between which and the name is nothing but a space may belong to the name, as in "2 euro" and "1 euro".
    """
    found = [match for entry in entries if (match := pattern.fullmatch(entry.name))]
    if len(found) < len(entries):
        return None
    numbers = [int(match["number"][:10]) for match in found]
    names = [match["name"].strip() for match in found]
    is_clear = pattern is NUMBER_FIRST and all(match["clear"] for match in found)
    if not _is_order(numbers):
        if is_clear:
            raise LabelError(_no_order(numbers))
        return None
    if not is_clear and 2 * len(set(names)) <= len(names) > 1:
        return None
    return [LabelEntry(names[i], entries[i].wordnet) for i in _sorted(numbers)]


def _with_wordnet(entries: list[LabelEntry]) -> list[LabelEntry] | None:
    """Return the entries with the WordNet numbers that stand before all names, or that all names are; None if not."""
    if all(WORDNET.fullmatch(entry.name) for entry in entries):
        return [LabelEntry(entry.name, entry.name) for entry in entries]
    found = [match for entry in entries if (match := WORDNET_FIRST.fullmatch(entry.name))]
    return [LabelEntry(match["name"], match["wordnet"]) for match in found] if len(found) == len(entries) else None


def _unquoted(entries: list[LabelEntry]) -> list[LabelEntry] | None:
    found = [match for entry in entries if (match := QUOTED.fullmatch(entry.name))]
    return [LabelEntry(match["name"]) for match in found] if len(found) == len(entries) else None


LINE_FORMS: tuple[tuple[str, Callable[[list[LabelEntry]], list[LabelEntry] | None]], ...] = (
    ("in quotes", _unquoted),
    ("with numbers in front", lambda entries: _numbered(NUMBER_FIRST, entries)),
    ("with WordNet numbers", _with_wordnet),
    ("with numbers behind", lambda entries: _numbered(NUMBER_LAST, entries)),
)
"""What lines may have besides names, tried one after the other, and what reads it; it returns None if it is not so."""


def _from_map(text: str, suffix: str) -> tuple[list[LabelEntry], str] | None:
    """Read a label map of TensorFlow, or YAML; None if the text is neither."""
    try:
        names = label_map(text)
        value, form = (names, "label map") if names is not None else (yaml_names(text, suffix, WRAPPERS), "YAML")
    except ValueError as error:
        raise LabelError(str(error)) from error
    entries = _list(value) or _index(value)
    return None if entries is None else (entries, form)


def _from_table(text: str, suffix: str) -> tuple[list[LabelEntry], str] | None:
    """Read CSV: a column of names, and perhaps one of the classes' indices and one of WordNet numbers."""
    if suffix not in DELIMITERS:
        return None
    text = re.sub(r"\Asep=.\s*\n", "", text)  # for Excel
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS[suffix], key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(map(str.strip, row))]
    except csv.Error as error:
        raise LabelError(f"is no CSV: {error}") from error
    width = len(rows[0])
    if len(rows) == 1 and width > 1 and not any(map(_is_no_name, rows[0])):
        return [LabelEntry(name) for name in rows[0]], "CSV of one row"
    if ragged := next((row for row in rows if len(row) != width), None):
        raise LabelError(f"has a row of {len(ragged)} columns after one of {width}: quote names that have commas")
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    header = [column[0].lower().replace(" ", "_") for column in columns]
    if any(name in NAME_COLUMNS for name in header) or any(map(_begins_otherwise, columns)):
        return _columns([column[1:] for column in columns], header), "CSV with a header"
    return _columns(columns, []), "CSV"


def _is_no_name(cell: str) -> bool:
    """Return whether a cell of the only row says that the row is a header, or one class with its numbers."""
    text = cell.strip()
    return _is_number(text) or bool(WORDNET.fullmatch(text)) or text.lower() in NAME_COLUMNS


def _begins_otherwise(column: Sequence[str]) -> bool:
    """Return whether the first cell of a column names the numbers below it."""
    return any(column[1:] and all(map(is_one, column[1:])) and not is_one(column[0]) for is_one in COLUMN_KINDS)


def _columns(columns: Sequence[Sequence[str]], header: Sequence[str]) -> list[LabelEntry]:
    """Return the entries of a table; `header` is empty if it has none."""
    places = range(len(columns))
    numeric = [i for i in places if all(map(_is_number, columns[i]))]
    wordnet = next((i for i in places if all(map(WORDNET.fullmatch, columns[i]))), None)
    name = next((header.index(known) for known in NAME_COLUMNS if known in header), None)
    if name is None:
        others = [i for i in places if i not in numeric and i != wordnet]
        if len(others) > 1:
            raise LabelError(f"has {len(columns)} columns: call the one with the names {NAME_COLUMNS[0]!r}")
        name = others[0] if others else (places[-1] if wordnet is None else wordnet)
    numbered = [i for i in numeric if i != name]
    index = next((i for i in numbered if _is_order(list(map(int, columns[i])))), None)
    if index is None and numbered:
        raise LabelError(_no_order(list(map(int, columns[numbered[0]]))))
    entries = [
        LabelEntry(columns[name][i], "" if wordnet is None else columns[wordnet][i]) for i in range(len(columns[0]))
    ]
    return entries if index is None else [entries[i] for i in _sorted(list(map(int, columns[index])))]


def _from_value(text: str, suffix: str) -> tuple[list[LabelEntry], str] | None:
    """Read JSON, or a list or dictionary as Python prints it; None if the text is neither."""
    body = ASSIGNED.sub("", text.strip(), count=1)
    if body[0] not in "[{(" or body[-1] not in "]})":
        if suffix == ".json":
            raise LabelError("is not JSON of a list or an object: it begins otherwise")
        return None
    value, language = _evaluated(body, suffix)
    if language is None:
        return None
    while isinstance(value, dict) and (key := next((key for key in WRAPPERS if _holds(value, key)), None)):
        value = value[key]
    for what, form in VALUE_FORMS:
        entries = form(value)
        if entries is not None:
            return entries, f"{language} {what}" if what == "list" else what
    raise LabelError('is neither a list of names, an index such as {"0": "cat"}, nor a dictionary such as {"cat": 0}')


def _holds(value: dict[Any, Any], key: str) -> bool:
    return isinstance(value.get(key), (list, tuple, dict)) and not _is_index(value)


def _evaluated(body: str, suffix: str) -> tuple[Any, str | None]:
    """Return a value and the language it is written in; None for a text that is in neither."""
    try:
        return json.loads(body, object_pairs_hook=_unique), "JSON"
    except LabelError:
        raise
    except (ValueError, RecursionError) as error:
        reason = error
    try:
        return ast.literal_eval(NEIGHBOURS.sub(", ", body)), "Python"
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        if suffix == ".json":
            raise LabelError(f"is not JSON: {reason}") from reason
        return None, None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of a JSON text; a key that it has twice would hide a class."""
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise LabelError(f"has the key {twice!r} twice: one of its classes would be lost")
    return value


def _list(value: Any) -> list[LabelEntry] | None:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
        return None
    entries = [LabelEntry(name) for name in value]
    return _with_wordnet(entries) or entries


def _index(value: Any) -> list[LabelEntry] | None:
    """Read {"0": "tench"} and {"0": ["n01440764", "tench"]}."""
    if not _is_index(value):
        return None
    numbers, found = [int(key) for key in value], [_entry(item) for item in value.values()]
    entries = [entry for entry in found if entry is not None]
    if len(entries) < len(found):
        return None
    if not _is_order(numbers):
        raise LabelError(_no_order(numbers))
    return [entries[i] for i in _sorted(numbers)]


def _class_indices(value: Any) -> list[LabelEntry] | None:
    """Read {"cat": 0}, as ImageDataGenerator's `class_indices` are; some people write {"cat": "0"}."""
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        return None
    if not all(isinstance(i, int) or (isinstance(i, str) and _is_number(i)) for i in value.values()):
        return None
    names, numbers = list(value), [int(number) for number in value.values()]
    if not _is_order(numbers):
        raise LabelError(_no_order(numbers))
    entries = [LabelEntry(names[i]) for i in _sorted(numbers)]
    return _with_wordnet(entries) or entries


VALUE_FORMS: tuple[tuple[str, Callable[[Any], list[LabelEntry] | None]], ...] = (
    ("list", _list),
    ("index", _index),
    ("class_indices dictionary", _class_indices),
)
"""What a value may be, and what reads it; it returns None if it is not that."""


def _is_index(value: Any) -> bool:
    """Return whether a value maps numbers to something that is more than numbers."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(_is_number(str(key)) for key in value)
        and not all(isinstance(item, int) for item in value.values())
    )


def _entry(item: Any) -> LabelEntry | None:
    """Return a class of an index: a name, or a list of WordNet number and name."""
    if isinstance(item, str):
        return LabelEntry(item)
    if isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return LabelEntry(item[1], item[0] if WORDNET.fullmatch(item[0]) else "")
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _is_order(numbers: Sequence[int]) -> bool:
    """Return whether the numbers are 0..N-1 or 1..N, each once."""
    return sorted(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _sorted(numbers: Sequence[int]) -> list[int]:
    return sorted(range(len(numbers)), key=lambda i: numbers[i])


def _no_order(numbers: Sequence[int]) -> str:
    """Return what is wrong with numbers that are neither 0..N-1 nor 1..N."""
    twice = next((number for number, count in Counter(numbers).items() if count > 1), None)
    last = len(numbers) - 1
    what = f"has number {twice} twice" if twice is not None else f"has numbers {min(numbers)} to {max(numbers)}"
    return f"{what}, and {len(numbers)} labels: number the classes from 0 to {last}, each once"
