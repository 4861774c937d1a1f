"""Charts as inline SVG: drawn by matplotlib, with the colours and the font of the page around them.

They are drawn in placeholder colours that become the page's custom properties, so that a chart is light or dark with
its page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge_runtime.arrays import Array

INK, MUTED, LINE, REFERENCE, CANDIDATE = "#010101", "#010102", "#010103", "#010104", "#010105"
PROPERTIES = {INK: "--ink", MUTED: "--muted", LINE: "--line", REFERENCE: "--reference", CANDIDATE: "--candidate"}
"""Placeholder colour -> the page's custom property."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and uses the page's font
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "savefig.transparent": True,
}
WIDTH = 4.5
"""Inches; about the width of a phone at 96 pixels per inch, so that text keeps its size there."""

UNCHANGED_POINTS: dict[str, Any] = {"s": 13, "color": REFERENCE, "alpha": 0.4, "label": "same answer"}
CHANGED_POINTS: dict[str, Any] = {"s": 26, "color": CANDIDATE, "marker": "D", "label": "answer changed"}
MOST_POINTS = 1500
SEED = 2016


def confidence_scatter(reference: Array, candidate: Array, changed: Array, description: str) -> Markup:
    """Plot the probability (N,) of the reference's answer against the candidate's probability for the same class.

    Points of which the first class `changed`, bool (N,), stand out. Of many images a seeded sample is drawn, at most
    `MOST_POINTS` unchanged and changed each. `description` is the text for screen readers.
    """
    with rc_context(STYLE):
        figure, axes = _axes(height=WIDTH * 0.94)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, dashes=(4, 3))
        for drawn, style in ((~changed, UNCHANGED_POINTS), (changed, CHANGED_POINTS)):
            shown = _sample(np.flatnonzero(drawn))
            axes.scatter(reference[shown], candidate[shown], linewidths=0, **style)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="reference: probability of its answer")
        axes.set_ylabel("candidate: probability of that class")
        axes.set_aspect("equal")
        axes.legend(loc="upper left", handletextpad=0.3, borderpad=0.2)
        return _svg(figure, "scatter", description)


def depth_profile(sqnr_db: Sequence[float | None], description: str) -> Markup:
    """Plot the SQNR after each layer, in execution order; None leaves a gap, and the five lowest are marked."""
    values = np.array([np.nan if value is None else value for value in sqnr_db], float)
    with rc_context(STYLE):
        figure, axes = _axes(height=WIDTH * 0.62)
        layers = np.arange(1, len(values) + 1)
        axes.plot(layers, values, color=REFERENCE, linewidth=1.1, marker=".", markersize=3)
        lowest = lowest_layers(sqnr_db)
        axes.scatter(layers[lowest], values[lowest], s=30, marker="D", color=CANDIDATE, linewidths=0, zorder=3)
        axes.set(xlabel="layer, in execution order", ylabel="SQNR (dB)")
        axes.margins(x=0.02, y=0.08)
        return _svg(figure, "depth", description)


def convergence(images: Sequence[int], range_ratio: Sequence[float], description: str) -> Markup:
    """Plot activation ranges over the number of calibration images, as a fraction of the final ranges."""
    with rc_context(STYLE):
        figure, axes = _axes(height=WIDTH * 0.5)
        axes.axhline(1, color=MUTED, linewidth=0.8, dashes=(4, 3))
        axes.plot(images, range_ratio, color=REFERENCE, linewidth=1.4, marker="o", markersize=3.5)
        axes.set(xlabel="calibration images", ylabel="fraction of final range")
        axes.margins(x=0.03, y=0.12)
        return _svg(figure, "convergence", description)


def lowest_layers(sqnr_db: Sequence[float | None], most: int = 5) -> list[int]:
    """Return the indices of the layers with the lowest SQNR, the lowest first."""
    known = [i for i, value in enumerate(sqnr_db) if value is not None and np.isfinite(value)]
    return sorted(known, key=lambda i: float(sqnr_db[i] or 0))[:most]


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _sample(indices: Array) -> Array:
    if len(indices) <= MOST_POINTS:
        return indices
    return np.sort(np.random.default_rng(SEED).choice(indices, MOST_POINTS, replace=False))


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """Return a figure as an element of a page: no header, only ids that it refers to, no style that could leak."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": name}):  # ids differ from chart to chart, not from run to run
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#(\w+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    for placeholder, custom in PROPERTIES.items():
        text = text.replace(f": {placeholder}", f": var({custom})")
    return Markup(text.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(description), 1))
