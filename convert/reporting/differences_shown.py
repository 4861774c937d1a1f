"""How the differences of two artifacts are shown: in the terminal, and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.reporting import html
from convert.reporting.differences import FIGURES, SQNR, Differences, Figure, LabelDifference, Pair
from convert.reporting.formatting import DASH, count, decibel, drift_rows
from edge_runtime.console import printable

Row = tuple[str, ...]
MOST_LAYERS = 10
MOST_LABELS = 6
MOST_PAIRS = 5


SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
DIGITS = 12
"""Of a SHA-256, as people are shown it; JSON has it whole."""


def print_differences(console: Console, found: Differences) -> None:
    """Print which two they are, a table for each kind of difference, and what there is none of."""
    for name, side in (("a", _shown(found.a)), ("b", _shown(found.b))):
        _say(console, f"{name}: {side['path']}, SHA-256 {side['sha256']}")
    console.print(_table(["", "a", "b", "b beside a"], figure_rows(found)))
    for note in found.notes:
        _say(console, f"note: {note}")
    _say(console, "")
    if found.card:
        console.print(_table(["made with", "a", "b"], card_rows(found)))
    else:
        _say(console, "made with the same options, sources and versions")
    _say(console, f"labels: {label_text(found.labels)}")
    if found.layers:
        rows = layer_rows(found)
        title = f"layers ({len(rows)} of {count(len(found.layers))} that differ)"
        console.print(_table([title, "a", "b"], rows))
    if found.answers is not None:
        console.print(_table(["answers: a is the reference, b the candidate", ""], answer_rows(found.answers)))


def render(found: Differences) -> str:
    """Return the page: one file without scripts that loads nothing; every value is escaped."""
    return html.template("comparison.html.j2").render(
        a=_shown(found.a),
        b=_shown(found.b),
        figures=figure_rows(found),
        notes=found.notes,
        card=card_rows(found),
        labels=label_text(found.labels),
        layers=layer_rows(found),
        layers_that_differ=len(found.layers),
        answers=None if found.answers is None else answer_rows(found.answers),
    )


def figure_rows(found: Differences) -> list[Row]:
    """Return name, both texts and the difference in words of each figure."""
    by_key, measured = {figure.key: figure for figure in FIGURES}, _measured(found)
    return [_figure_row(by_key[pair.key], pair, measured) for pair in found.figures]


def card_rows(found: Differences) -> list[Row]:
    """Return key and both values, as JSON has them, of what the two were made with."""
    return [(pair.key, _json(pair.a), _json(pair.b)) for pair in found.card]


def label_text(labels: LabelDifference | None) -> str:
    """Return in words how the labels differ."""
    if labels is None:
        return "not compared, a report alone has none"
    if labels.same_order:
        return "the same"
    sides = [f"only {name} has {_some(only)}" for name, only in (("a", labels.only_a), ("b", labels.only_b)) if only]
    return "; ".join(sides) or "the same, in another order"


def layer_rows(found: Differences) -> list[Row]:
    """Return name and texts of the layers that differ most: those in one network alone or of other types first."""

    def change(pair: Pair) -> float:
        if pair.a is None or pair.b is None or pair.a["dtype"] != pair.b["dtype"]:
            return float("inf")
        one, other = pair.a["own_sqnr_db"], pair.b["own_sqnr_db"]
        return -1.0 if one is None or other is None else abs(float(other) - float(one))

    worst = sorted(found.layers, key=change, reverse=True)[:MOST_LAYERS]
    return [(pair.key, _layer(pair.a), _layer(pair.b)) for pair in worst]


def answer_rows(answers: dict[str, Any]) -> list[Row]:
    """Return the figures of b's answers beside a's, and what changed most."""
    pairs = [
        (f"{count(pair['images'])} ×", f"{pair['reference']} → {pair['candidate']}") for pair in answers["confusion"]
    ]
    return [("images", count(answers["images"])), *drift_rows(answers), *pairs[:MOST_PAIRS]]


def _measured(found: Differences) -> tuple[bool, bool]:
    """Return of both whether drift was measured: then an SQNR of None stands for equal outputs."""
    images = next((pair for pair in found.figures if pair.key == "drift.images"), Pair("", None, None))
    return images.a is not None, images.b is not None


def _figure_row(figure: Figure, pair: Pair, measured: tuple[bool, bool]) -> Row:
    values = (pair.a, pair.b)
    texts = [
        figure.text(value) if value is not None or (figure.key == SQNR and is_measured) else DASH
        for value, is_measured in zip(values, measured, strict=True)
    ]
    differ = figure.difference is not None and None not in values and pair.a != pair.b
    return figure.name, *texts, figure.difference(*values) if differ and figure.difference else ""


def _layer(layer: dict[str, Any] | None) -> str:
    if layer is None:
        return DASH
    noise = layer["own_sqnr_db"]
    return layer["dtype"] if noise is None else f"{layer['dtype']}, {decibel(noise)} by itself"


def _shown(side: dict[str, str]) -> dict[str, str]:
    """Return path and hash of a side as people are shown them."""
    return side | {"sha256": side["sha256"][:DIGITS]}


def _json(value: Any) -> str:
    text = DASH if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return SHA256.sub(lambda found: found[0][:DIGITS], text)


def _some(labels: Sequence[str]) -> str:
    more = len(labels) - MOST_LABELS
    return ", ".join(map(repr, labels[:MOST_LABELS])) + (f" and {more} more" if more > 0 else "")


def _table(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table(*(escape(printable(name)) for name in columns), box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    return table


def _say(console: Console, text: str) -> None:
    console.print(escape(printable(text)), highlight=False, soft_wrap=True)
