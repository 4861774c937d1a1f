"""The forms of labels: one a line, numbered, CSV, and values such as a list, an index or a dictionary.

The place of a name is its class, so whatever says another order is checked and obeyed.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edge_runtime._label_languages import LabelError, evaluated, label_map, yaml_names

LONGEST_LINE = 2000
WORDNET = re.compile(r"n\d{8}")
NUMBER_FIRST = re.compile(
    r"[\[(#]?(?P<number>\d+)(?:(?P<clear>\s*(?:[=-]>|[:,;=)\]\t|])\s*|\.\s+|\s+[-–]\s+)|\s+)(?P<name>\S.*)"
)
NUMBER_LAST = re.compile(r"(?P<name>.*\S.*)(?P<clear>[:,;=\t])\s*(?P<number>\d+)")
WORDNET_FIRST = re.compile(r"(?P<wordnet>n\d{8})(?:\s*[:,;\t]\s*|\s+)(?P<name>\S.*)")
QUOTED = re.compile(r"(?P<quote>['\"])(?P<name>.*)(?P=quote)\s*,?")
ASSIGNED = re.compile(r"[A-Za-z_]\w*\s*=\s*(?=[\[{(])")
"""What stands before a list that was copied from a program: "class_names = "."""

WRAPPERS = ("class_indices", "class_names", "id2label", "class_to_idx", "idx_to_class", "labels", "names", "classes")
"""Keys under which other tools' files (config.json, say) hold their labels."""

COLUMN_KINDS: tuple[Callable[[str], object], ...] = (str.isdecimal, WORDNET.fullmatch)
"""What is true of every cell of a column of indices, and of one of WordNet numbers."""

NAME_COLUMNS = ("name", "label", "class_name", "class", "classname", "labels", "category", "display_name")
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}


class LabelEntry(NamedTuple):
    """A class as a file has it."""

    name: str
    wordnet: str = ""


def entries_of(text: str, suffix: str) -> tuple[list[LabelEntry], str]:
    """Return the classes in the text of a file with this suffix, and the form; raise `LabelError` if it has none."""
    return _from_map(text, suffix) or _from_value(text, suffix) or _from_table(text, suffix) or lines_of(text)


def lines_of(text: str) -> tuple[list[LabelEntry], str]:
    """Return the classes of a text with one a line, and what else stands in the lines."""
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
    if not is_clear and (not _is_order(numbers) or 2 * len(set(names)) <= len(names) > 1):
        return None
    return _in_order([entry._replace(name=name) for entry, name in zip(entries, names, strict=True)], numbers)


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
    names = label_map(text)
    value, form = (names, "label map") if names is not None else (yaml_names(text, suffix, WRAPPERS), "YAML")
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
    entries = [
        LabelEntry(columns[name][i], "" if wordnet is None else columns[wordnet][i]) for i in range(len(columns[0]))
    ]
    numbered = [list(map(int, columns[i])) for i in numeric if i != name]
    return _in_order(entries, next(filter(_is_order, numbered), numbered[0])) if numbered else entries


def _from_value(text: str, suffix: str) -> tuple[list[LabelEntry], str] | None:
    """Read JSON, or a list or dictionary as Python prints it; None if the text is neither."""
    body = ASSIGNED.sub("", text.strip(), count=1)
    if body[0] not in "[{(" or body[-1] not in "]})":
        if suffix == ".json":
            raise LabelError("is not JSON of a list or an object: it begins otherwise")
        return None
    value, language = evaluated(body, suffix)
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
    return _in_order(entries, numbers)


def _class_indices(value: Any) -> list[LabelEntry] | None:
    """Read {"cat": 0}, as ImageDataGenerator's `class_indices` are; some people write {"cat": "0"}."""
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        return None
    if not all(isinstance(i, int) or (isinstance(i, str) and _is_number(i)) for i in value.values()):
        return None
    numbers = [int(number) for number in value.values()]
    entries = _in_order([LabelEntry(name) for name in value], numbers)
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


def _in_order(entries: Sequence[LabelEntry], numbers: Sequence[int]) -> list[LabelEntry]:
    """Return entries sorted by their numbers; raise `LabelError` if these are neither 0..N-1 nor 1..N."""
    if _is_order(numbers):
        return [entry for _, entry in sorted(zip(numbers, entries, strict=True))]
    twice = next((number for number, count in Counter(numbers).items() if count > 1), None)
    what = f"has number {twice} twice" if twice is not None else f"has numbers {min(numbers)} to {max(numbers)}"
    last = len(numbers) - 1
    raise LabelError(f"{what}, and {len(numbers)} labels: number the classes from 0 to {last}, each once")
