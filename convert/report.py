"""What was found, for machines (JSON beside the artifact) and for people (tables in the terminal)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.atomic import write_atomically
from convert.drift import FAIL, INCONCLUSIVE, PASS, Drift, Gate
from convert.schemes import Scheme

VERDICT_STYLES = {PASS: "bold green", FAIL: "bold red", INCONCLUSIVE: "bold yellow"}
EXIT_CODES = {PASS: 0, FAIL: 3, INCONCLUSIVE: 4}


@dataclass(frozen=True)
class Outcome:
    """One artifact: its file, and how it was judged (None when it was not measured)."""

    scheme: Scheme
    path: Path
    bytes: int
    sha256: str
    drift: Drift | None
    gate: Gate | None
    timings_s: dict[str, float]


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The report of one artifact."""
    return {
        "scheme": outcome.scheme.name,
        "artifact": {"path": str(outcome.path), "bytes": outcome.bytes, "sha256": outcome.sha256},
        "drift": None if outcome.drift is None else outcome.drift.to_json(),
        "gate": None if outcome.gate is None else gate_json(outcome.gate),
        "timings_s": outcome.timings_s,
        "environment": environment(),
    }


def gate_json(gate: Gate) -> dict[str, Any]:
    """Verdict, limits and reasons."""
    return {"verdict": gate.verdict, "limits": asdict(gate.limits), "reasons": gate.reasons}


def environment() -> dict[str, Any]:
    """The machine that measured."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def write_json(value: dict[str, Any], artifact: Path) -> Path:
    """Write a report beside its artifact, as `<artifact>.report.json`."""
    path = artifact.with_name(f"{artifact.name}.report.json")
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, "utf-8"))
    return path


def exit_code(gates: Sequence[Gate | None]) -> int:
    """The worst of several verdicts: fail before inconclusive before pass."""
    codes = [EXIT_CODES[gate.verdict] for gate in gates if gate is not None]
    return next((code for code in (EXIT_CODES[FAIL], EXIT_CODES[INCONCLUSIVE]) if code in codes), 0)


def print_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """A column for each artifact, the reasons of each verdict, and where the files are."""
    columns = [_cells(outcome) for outcome in outcomes]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for _ in outcomes:
        table.add_column(overflow="fold")
    for row in dict.fromkeys(row for column in columns for row in column):
        table.add_row(row, *(column.get(row, "") for column in columns))
    console.print(table)
    for outcome in outcomes:
        for reason in outcome.gate.reasons if outcome.gate else ():
            console.print(f"{outcome.scheme.name}: {escape(reason)}", highlight=False, soft_wrap=True)
    for outcome in outcomes:
        console.print(f"[bold]{escape(str(outcome.path))}[/]", highlight=False, soft_wrap=True)


def print_drift(console: Console, drift: Drift, gate: Gate) -> None:
    """Verdict first, then the figures behind it."""
    console.print(f"{_verdict(gate)} on {drift.images} images", highlight=False)
    for reason in gate.reasons:
        console.print(f"  {escape(reason)}", highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    top1 = "unlabelled"
    if drift.top1_reference is not None and drift.top1_candidate is not None:
        top1 = f"{drift.top1_reference:.2%} reference, {drift.top1_candidate:.2%} candidate"
    table.add_row("top-1", top1)
    table.add_row("agreement, top-5", f"{drift.agreement_top5:.2%}")
    table.add_row("SQNR of the logits", f"{drift.sqnr_db:.1f} dB")
    table.add_row("largest error of a probability", f"{drift.max_abs_error:.2g}")
    table.add_row("flipped answers", str(round(drift.images * (1 - drift.agreement_top1))))
    console.print(table)


def _verdict(gate: Gate | None) -> str:
    return "not measured" if gate is None else f"[{VERDICT_STYLES[gate.verdict]}]{gate.verdict}[/]"


def _cells(outcome: Outcome) -> dict[str, str]:
    """What the terminal shows of one artifact, by row."""
    cells = {"scheme": outcome.scheme.name, "size": f"{outcome.bytes / 1e6:.1f} MB"}
    drift = outcome.drift
    if drift is not None and drift.top1_drop_ci95_pp is not None:
        low, high = drift.top1_drop_ci95_pp
        cells["top-1 float"] = f"{drift.top1_reference:.2%}"
        cells["top-1 quantized"] = f"{drift.top1_candidate:.2%}"
        cells["drop"] = f"{drift.top1_drop_pp:.2f} pp [{low:.2f}, {high:.2f}]"
    if drift is not None:
        low, high = drift.agreement_ci95
        cells["agreement"] = f"{drift.agreement_top1:.2%} [{low:.2%}, {high:.2%}]"
        cells["SQNR"] = f"{drift.sqnr_db:.1f} dB"
        cells["images"] = str(drift.images)
    return {**cells, "verdict": _verdict(outcome.gate)}
