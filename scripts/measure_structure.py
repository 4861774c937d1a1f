"""Measure the structure of the product's code: lines, loose files, import cycles, functions, docstrings.

    python scripts/measure_structure.py [CHECKOUT]

Reads the source with `ast` and imports nothing of it, so that it runs on any revision:

    git worktree add ../before REVISION && python scripts/measure_structure.py ../before
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

PRODUCT = ("convert", "edge_runtime", "calibration_data")
NOUN_STARTS = ("The", "What", "A", "An", "One", "How", "Whether", "Of", "All", "Each", "Where", "Both")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(root: Path) -> None:
    """Print one figure a line."""
    sources = {path: path.read_text() for package in PRODUCT for path in sorted((root / package).rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in sources.items()}
    arrows = room_arrows(root / "convert", trees)
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    loose = sorted(path.name for path in (root / "convert").glob("*.py"))
    figures = {
        "lines of Python in the product": sum(text.count("\n") for text in sources.values()),
        "files": len(sources),
        "longest file": max(text.count("\n") for text in sources.values()),
        "loose files in convert/": f"{len(loose)}: {', '.join(loose)}",
        "rooms of convert/ in an import cycle": ", ".join(sorted(cyclic(arrows))) or "none",
        "import arrows between rooms": sum(map(len, arrows.values())),
        "functions": len(functions),
        "median and longest function": f"{statistics.median(lengths):.0f}, {max(lengths)}",
        "class names used more than once": ", ".join(f"{n} x{c}" for n, c in repeated_classes(trees).items()) or "none",
        "docstrings of functions that begin with a verb": verb_first(trees),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")


def room_arrows(folder: Path, trees: Mapping[Path, ast.Module]) -> dict[str, set[str]]:
    """Map each room of `convert` to the rooms it imports; a room is a package or a module beside them, the root
    with its `errors` left out, which everybody may raise, and its `__main__`, which nobody imports."""
    arrows: dict[str, set[str]] = {}
    for path, tree in trees.items():
        if not path.is_relative_to(folder):
            continue
        parts = path.relative_to(folder).parts
        here = parts[0] if len(parts) > 1 else "convert"
        if parts[0] in ("errors.py", "__main__.py"):
            continue
        there = (name.split(".") for name in imported(tree))
        rooms = {room_of(folder, name) for name in there if name[0] == "convert" and name[1:2] != ["errors"]}
        arrows.setdefault(here, set()).update(rooms - {here})
    return arrows


def room_of(folder: Path, name: list[str]) -> str:
    """Name the room of a dotted import."""
    return name[1] if len(name) > 1 and (folder / name[1]).is_dir() else "convert"


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted names that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def cyclic(arrows: Mapping[str, set[str]]) -> set[str]:
    """Return the rooms from which imports lead back to themselves."""
    return {room for room in arrows if room in reachable(arrows, room)}


def reachable(arrows: Mapping[str, set[str]], start: str) -> set[str]:
    """Return all rooms that imports lead to."""
    found: set[str] = set()
    waiting = list(arrows.get(start, ()))
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting += arrows.get(room, ())
    return found


def repeated_classes(trees: Mapping[Path, ast.Module]) -> dict[str, int]:
    """Count the class names that stand in several places."""
    names = Counter(node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {name: count for name, count in names.most_common() if count > 1}


def verb_first(trees: Mapping[Path, ast.Module]) -> str:
    """Count the docstrings of functions that begin with neither an article nor a question word."""
    nodes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    first = [text.split(maxsplit=1)[0] for node in nodes if (text := ast.get_docstring(node))]
    return f"{sum(word not in NOUN_STARTS for word in first)} of {len(first)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
