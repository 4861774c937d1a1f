"""Several contenders at one piece of work, in turns; the medians, and a Markdown table of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import processes
from processes import Usage

HEAD = "| | time | ratio | peak memory | ratio |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Contender:
    """What takes part.

    Attributes:
        name: in the table.
        command: what it runs.
        environment: variables of its process.
        before: called before each run, outside of what is measured.
        accepted: exit codes that mean that it did its work.
        turns: it takes no more of them than this; the table says so.
        needs: a file of earlier work, without which it takes no part; the table says so.
    """

    name: str
    command: tuple[str | Path, ...]
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    accepted: tuple[int, ...] = (0,)
    turns: int | None = None
    needs: Path | None = None

    def takes(self, turn: int) -> bool:
        """Whether it takes part in a turn, counted from 0."""
        return self.turns is None or turn < self.turns


@dataclass(frozen=True)
class Work:
    """A piece of work and who takes part; the first contender is the 1 of the ratios.

    Attributes:
        title: heading of its table.
        note: what is measured, for the reader.
        contenders: in the order of their turns.
        repeats: turns of each.
        seconds: what is taken as the time of a run.
        shown: how that time is written.
        check: raises `ValueError` when what a run printed is wrong.
        measure: of `processes`.
        before: called once, before the first turn.
    """

    title: str
    note: str
    contenders: tuple[Contender, ...]
    repeats: int
    seconds: Callable[[Usage], float] = lambda usage: usage.seconds
    shown: Callable[[float], str] = lambda seconds: f"{seconds:.1f} s"
    check: Callable[[Usage], object] = lambda usage: None
    measure: Callable[[Sequence[str | Path], Mapping[str, str]], Usage] = processes.measure
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Row:
    """Medians of one contender, in seconds and bytes; or why there are none."""

    name: str
    seconds: float = 0.0
    peak_bytes: float = 0.0
    failure: str | None = None
    turns: int = 0


def last_json(usage: Usage) -> dict[str, float]:
    """The JSON that a script printed last, whatever its libraries printed before."""
    found: dict[str, float] = json.loads(usage.out.strip().splitlines()[-1])
    return found


def reported_seconds(usage: Usage) -> float:
    """The time that a script measured itself, its `ms`."""
    return last_json(usage)["ms"] / 1000


def in_turns(work: Work, tell: Callable[[str], object]) -> list[Row]:
    """Run all contenders once, then all of them again, and so on, so that a slow minute hits all of them.

    Who fails once takes part no more.

    Args:
        work: what is to be done.
        tell: told of each run.
    """
    work.before()
    usages: dict[str, list[Usage]] = {contender.name: [] for contender in work.contenders}
    failures: dict[str, str] = {
        contender.name: f"not run: {contender.needs.name} is missing"
        for contender in work.contenders
        if contender.needs is not None and not contender.needs.exists()
    }
    for turn in range(work.repeats):
        for contender in work.contenders:
            if contender.name in failures or not contender.takes(turn):
                continue
            contender.before()
            usage = work.measure(contender.command, contender.environment)
            failure = complaint(contender, work, usage)
            if failure is not None:
                failures[contender.name] = failure
            usages[contender.name].append(usage)
            outcome = failure or f"{usage.seconds:.1f} s, {usage.peak_bytes / 1e6:.0f} MB"
            tell(f"{work.title}, {turn + 1} of {work.repeats}: {contender.name}: {outcome}")
    return [
        Row(name, failure=failures[name]) if name in failures else medians(name, found, work.seconds)
        for name, found in usages.items()
    ]


def complaint(contender: Contender, work: Work, usage: Usage) -> str | None:
    """Why a run does not count, in a line; None where it does."""
    if usage.code not in contender.accepted:
        said = [line for line in usage.err.splitlines() if line.strip()] or ["nothing"]
        return f"exit code {usage.code}: {said[-1].strip()[:200]}"
    try:
        work.check(usage)
        work.seconds(usage)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"wrong answer: {error}"
    return None


def medians(name: str, usages: Sequence[Usage], seconds: Callable[[Usage], float]) -> Row:
    """Of the time and, by itself, of the memory."""
    peak = statistics.median(usage.peak_bytes for usage in usages)
    return Row(name, statistics.median(map(seconds, usages)), peak, turns=len(usages))


def markdown(work: Work, rows: Sequence[Row]) -> str:
    """A section: heading, note, and a line a contender, whose ratios are to the first."""
    lines = [f"## {work.title}", "", work.note, "", HEAD, *(_line(row, rows[0], work) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(row: Row, first: Row, work: Work) -> str:
    if row.failure is not None:
        return f"| {row.name} | {row.failure.replace('|', '/')} | | | |"
    name = row.name if row.turns == work.repeats else f"{row.name} ({row.turns} of {work.repeats} turns)"
    cells = [name, work.shown(row.seconds), _ratio(row.seconds, first.seconds)]
    cells += [f"{row.peak_bytes / 1e6:,.0f} MB", _ratio(row.peak_bytes, first.peak_bytes)]
    return "| " + " | ".join(cells) + " |"


def _ratio(value: float, one: float) -> str:
    return f"{value / one:.2f}" if one > 0 else ""
