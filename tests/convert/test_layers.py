"""The rooms of `convert` and the order in which they may import each other, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import convert

ROOT = Path(convert.__file__).parent
LAYERS = (
    ("errors",),
    ("system", "statistics"),
    ("tflite", "images", "keras_models"),
    ("lowering", "picture"),
    ("quantization", "audit"),
    ("quantized",),
    ("devices",),
    ("drift",),
    ("cache",),
    ("reporting",),
    ("job",),
    ("checking",),
    ("preparation",),
    ("artifacts",),
    ("pipeline",),
    ("verify",),
    ("cli",),
    ("__main__",),
)
"""Lowest first. A room imports from lower layers, and from its own layer where no circle comes of it."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """Map each room to the other rooms that it imports."""
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        targets = (name.split(".") for name in imported(path))
        found.setdefault(room, set()).update(t[1] for t in targets if t[0] == "convert" and len(t) > 1 and t[1] != room)
    return found


def test_every_room_has_its_layer() -> None:
    assert arrows().keys() == LEVEL.keys()


@pytest.mark.parametrize("room", LEVEL)
def test_nobody_imports_upwards(room: str) -> None:
    above = {other for other in arrows()[room] if LEVEL[other] > LEVEL[room]}
    assert not above, f"{room} imports {sorted(above)}, which stand on it"


def test_no_two_rooms_import_each_other() -> None:
    assert list(TopologicalSorter(arrows()).static_order())


def test_the_plan_names_every_room_in_the_order_of_layers() -> None:
    plan = (ROOT.parent / "ARCHITECTURE.md").read_text("utf-8")
    named = re.findall(r"^\| `(\w+)/` \|", plan, re.MULTILINE)
    assert sorted(named) == sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    assert [LEVEL[room] for room in named] == sorted(LEVEL[room] for room in named)


def test_the_files_that_the_plan_names_are_there() -> None:
    plan = (ROOT.parent / "ARCHITECTURE.md").read_text("utf-8")
    paths = re.findall(r"`((?:\w+/)*\w+\.py)`", plan)
    assert len(paths) > 10
    folders = (ROOT.parent, ROOT, ROOT.parent / "edge_runtime")
    assert [path for path in paths if not any((folder / path).exists() for folder in folders)] == []
