"""The languages that labels are written in: label maps of TensorFlow (`.pbtxt`), YAML, JSON and Python.

Of the first two only what label files are made of is read, without a parser.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

TOKEN = re.compile(
    r"""(?P<space>[\s,;]+|\#[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+)|(?P<mark>[{}:])"""
)
LABEL_MAP = re.compile(r"(?:\s|#[^\n]*\n)*item\s*:?\s*\{")
NAME_FIELDS = ("display_name", "name")

YAML = (".yaml", ".yml")
YAML_KEY = re.compile(r"(?P<key>[A-Za-z_]\w*)\s*:(?:\s+(?P<value>.*))?")
YAML_ITEM = re.compile(r"\s*(?:-|(?P<number>\d{1,9})\s*:)\s+(?P<name>\S.*)")
YAML_ADVICE = "write them one a line in a text file, or as a list under 'names:'"

NEIGHBOURS = re.compile(r"(?<=['\"])\s+(?=['\"])")
"""Where NumPy prints no comma: ['cat' 'dog']."""


class LabelError(ValueError):
    """A text is no list of labels; the message is what follows the name of its file."""


def label_map(text: str) -> dict[int, str] | None:
    """Return the names of a label map of TensorFlow by their numbers; None for a text that is none.

    Raises:
        LabelError: an item has no number or no name, or two have the same number.
    """
    if not LABEL_MAP.match(text):
        return None
    items = list(_items(_tokens(text)))
    field = next((name for name in NAME_FIELDS if all(name in item for item in items)), None)
    if field is None or not all(item.get("id", "").isdecimal() for item in items):
        raise LabelError("is a label map of which an item lacks its id or its name: give each both")
    names = {int(item["id"][:10]): item[field] for item in items}
    if len(names) < len(items):
        raise LabelError("is a label map with two items of the same id: number the classes, each once")
    return names


def _tokens(text: str) -> Iterator[str]:
    """Yield words, marks and quoted texts, the latter with a quote before what they say."""
    position = 0
    while position < len(text):
        found = TOKEN.match(text, position)
        if found is None:
            raise LabelError(f"is a label map with {text[position : position + 20]!r} in it, which belongs to none")
        position = found.end()
        if found["text"] is not None:
            yield '"' + _unquoted(found["text"])
        elif found["space"] is None:
            yield found[0]


def _items(tokens: Iterator[str]) -> Iterator[dict[str, str]]:
    """Yield the fields of each `item { field: value ... }`."""
    flat = [token for token in tokens if token != ":"]
    start = 0
    for end in [i for i, token in enumerate(flat) if token == "}"]:
        fields = flat[start + 2 : end]
        if flat[start : start + 2] != ["item", "{"] or len(fields) % 2 or "{" in fields:
            break
        yield {name: value.removeprefix('"') for name, value in zip(fields[::2], fields[1::2], strict=True)}
        start = end + 1
    if start < len(flat):
        raise LabelError(f"is a label map with more than items of id and name (at {flat[start][:20]!r}): leave it out")


def yaml_names(text: str, suffix: str, keys: Sequence[str]) -> list[str] | dict[int, str] | None:
    """Return the names that a file in YAML lists, below one of `keys` or at its top; None for another kind of file.

    Raises:
        LabelError: they are written in a way that is not read here.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "---"))]
    found = [(i, match) for i, line in enumerate(lines) if (match := YAML_KEY.fullmatch(line)) and match["key"] in keys]
    if suffix not in YAML and not (found and found[0][0] == 0 and not found[0][1]["value"] and len(lines) > 1):
        return None
    if found:
        start, match = found[0]
        lines = lines[start + 1 :]
        if value := _without_comment(match["value"] or ""):
            return _flow(value, lines)
        end = next((i for i, line in enumerate(lines) if line[0] not in " \t-"), len(lines))
        lines = lines[:end]
    items = [YAML_ITEM.fullmatch(line) for line in lines]
    numbers = [item["number"] for item in items if item is not None]
    names = [_unquoted(_without_comment(item["name"])) for item in items if item is not None]
    if len(names) < len(items) or not names or len({number is None for number in numbers}) > 1:
        raise LabelError(f"is YAML in which no list of names was found: {YAML_ADVICE}")
    if numbers[0] is None:
        return names
    if len({*map(int, numbers)}) < len(numbers):
        raise LabelError("is YAML with the same number twice: number the classes, each once")
    return {int(number): name for number, name in zip(numbers, names, strict=True)}


def _flow(value: str, rest: Sequence[str]) -> list[str]:
    """Return the names of a list in brackets, which may go on in the lines behind."""
    for line in rest:
        if value.endswith("]"):
            break
        value += " " + line.strip()
    inside = value.removeprefix("[").removesuffix("]").strip().removesuffix(",")
    if not (value.startswith("[") and value.endswith("]")) or any(mark in inside for mark in "[]{}"):
        raise LabelError(f"is YAML in which no list of names was found: {YAML_ADVICE}")
    parts = re.findall(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^,"'][^,]*)\s*(?:,|$)""", inside)
    return [_unquoted(part.strip()) for part in parts]


def _without_comment(text: str) -> str:
    return text.strip() if text.lstrip()[:1] in ("'", '"') else text.partition(" #")[0].strip()


def _unquoted(text: str) -> str:
    """Return what a text in quotes says, and others as they are."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return str(read(text))
        except (ValueError, SyntaxError):
            continue
    return text[1:-1]


def evaluated(body: str, suffix: str) -> tuple[Any, str | None]:
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
