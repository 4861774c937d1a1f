"""The section of ACCURACY.md about trained networks: figures as data, and their Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import processor

HEADING = "## Networks that were trained on photographs"
NOTES = (
    "Made by `python benchmarks/pretrained.py --photographs DIR` with the public samples of ImageNet, one photograph a "
    "class: 100 calibrate, up to 800 others are judged by, the same for all. The same float model for all; peers run "
    "as their documentation shows them, NNCF also with what did best of four settings on EfficientNet-Lite0 (each bias "
    "corrected by itself: `fast_bias_correction=False`). Ours has default options, through the same code as "
    "`irv2-convert`.",
    "Agreement is with the float network's answers, with its 95 % interval; *where sure* where its first "
    "class led by 10 points or more: most flips are near ties. SQNR is of the centred logits of all images together; "
    "where a softmax is computed in integers, the logits are read before it. Time is of one image on one thread, the "
    "median of turns. Networks of nsfwjs have classes that these photographs do not show: no top-1.",
    "**What so few photographs can tell.** The interval of 99 % of 800 is about ±0.7 points, of 200 ±1.5 and "
    "more, and another set of calibration images moves agreement by a point: here SQNR tells recipes apart, agreement "
    "hardly. The demo's table above flatters us: its random kernels are what peers do worst on.",
)


@dataclass(frozen=True)
class Row:
    """Figures of one recipe; None for what was not measured, `error` for why there are none.

    Attributes:
        top1, agreement, sure_agreement: fractions; `interval` is agreement's.
        sure: images where the float network's first class led by 10 points or more; `sure_agreement` is of these.
    """

    name: str
    top1: float | None = None
    agreement: float | None = None
    interval: tuple[float, float] | None = None
    sure: int | None = None
    sure_agreement: float | None = None
    sqnr_db: float | None = None
    megabytes: float | None = None
    milliseconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Network:
    """What became of one network; `error` says why it was not tried."""

    name: str
    title: str
    images: int = 0
    classes: int = 0
    rows: tuple[Row, ...] = ()
    error: str = ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Network:
        """Read what `dataclasses.asdict` made."""
        return cls(**{**value, "rows": tuple(Row(**row) for row in value["rows"])})


def section(networks: Sequence[Network], versions: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Iterator[str]:
    """Yield the lines of the section; networks are in its order."""
    yield from (HEADING, "")
    for note in NOTES:
        yield from (note, "")
    yield f"{processor(cpuinfo.read_text())}; {dot_products(cpuinfo.read_text())}; {versions}"
    for network in networks:
        if not network.error:
            yield from ("", *table(network))
    by_reason: dict[str, list[str]] = {}
    for network in networks:
        if network.error:
            by_reason.setdefault(network.error, []).append(network.title)
    for reason, titles in by_reason.items():
        yield from ("", f"Not tried, {reason}: {', '.join(titles)}.")


def dot_products(cpuinfo: str) -> str:
    """Say whether int8 can be faster than float on this processor."""
    flags = set(cpuinfo.split())
    if flags & {"avx512_vnni", "avx_vnni", "asimddp"}:
        return "it has int8 dot products"
    return "it has no int8 dot products: int8 is hardly faster than float here"


def table(network: Network) -> Iterator[str]:
    """Yield the table of one network."""
    yield f"### {network.title}, {network.classes} classes, {network.images} photographs"
    yield ""
    yield "| | top-1 | agreement | 95 % interval | where sure | SQNR | MB | ms |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in network.rows:
        if row.error:
            yield f"| {row.name} | {row.error.replace('|', '/')} | | | | | | |"
            continue
        low, high = row.interval or (0.0, 1.0)
        cells = (
            _percent(row.top1),
            _percent(row.agreement),
            f"[{low:.2%}, {high:.2%}]",
            f"{_percent(row.sure_agreement)} of {row.sure}",
            "" if row.sqnr_db is None else f"{row.sqnr_db:.1f} dB",
            "" if row.megabytes is None else f"{row.megabytes:.2f}",
            "" if row.milliseconds is None else f"{row.milliseconds:.1f}",
        )
        yield f"| {row.name} | {' | '.join(cells)} |"


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction:.2%}"


def with_section(text: str, lines: Sequence[str]) -> str:
    """Return a Markdown text with its section of this heading replaced, or with the section at its end."""
    new = "\n".join(lines).strip() + "\n"
    found = re.search(rf"^{re.escape(HEADING)}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{text.rstrip()}\n\n{new}"
    rest = text[found.end() :]
    return text[: found.start()] + new + (f"\n{rest}" if rest else "")
