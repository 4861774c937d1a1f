"""What was found, for machines (JSON beside the artifact) and for people (tables in the terminal)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.drift import attribution as blame
from convert.drift.comparison import Comparison
from convert.drift.figures import Drift
from convert.quantization.schemes import Scheme
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS, Gate
from convert.system.atomic import write_atomically
from convert.system.machine import environment
from edge_runtime.console import printable

VERDICT_STYLES = {PASS: "bold green", FAIL: "bold red", INCONCLUSIVE: "bold yellow"}
MOST_PAIRS_SHOWN = 5
EXIT_CODES = {PASS: 0, FAIL: 3, INCONCLUSIVE: 4}


@dataclass(frozen=True)
class FallbackRow:
    """A row of the Pareto table: what an alternative costs, and what it brings.

    Attributes:
        layers: with weights, in float.
        bytes: of the artifact.
        milliseconds: median of an image, on this machine.
        sqnr_db: on held-out calibration images.
        agreement: with the float network on the validation images.
        verdict: of the gate.
    """

    layers: int
    bytes: int
    milliseconds: float
    sqnr_db: float
    agreement: float
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """One artifact: its file, and how it was judged (None when it was not measured).

    Attributes:
        scheme, path, bytes, sha256: of the artifact.
        drift, gate: what was measured, and the judgement.
        timings_s: seconds of each stage.
        calibration: what images it was fitted to and how; None where there are none.
        layers: each layer beside the float one, see `convert.quantization.layer_comparison`.
        float_layers: names of the layers that were left in float on purpose.
        recovery: what was tried to get it through the gate.
        superseded: whether another artifact was made because this one did not pass.
        keras_sqnr_db: of the float TFLite against Keras, in dB.
        latency_ms: median time of an image on this machine's CPU; None where it would take minutes.
        compared: the answers that were measured, for the page.
        cached: what came from the cache: the seconds of its stage are those it took to read.
    """

    scheme: Scheme
    path: Path
    bytes: int
    sha256: str
    drift: Drift | None
    gate: Gate | None
    timings_s: dict[str, float]
    calibration: dict[str, Any] | None = None
    layers: list[dict[str, Any]] = field(default_factory=list)
    float_layers: tuple[str, ...] = ()
    recovery: list[FallbackRow] = field(default_factory=list)
    superseded: bool = False
    keras_sqnr_db: float | None = None
    latency_ms: float | None = None
    compared: Comparison | None = field(default=None, repr=False)
    cached: tuple[str, ...] = ()


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The report of one artifact."""
    return {
        "scheme": outcome.scheme.name,
        "artifact": {"path": str(outcome.path), "bytes": outcome.bytes, "sha256": outcome.sha256},
        "drift": None if outcome.drift is None else outcome.drift.to_json(),
        "blame": [] if outcome.drift is None else blame.to_json(blame.conversion(outcome.keras_sqnr_db, outcome.drift)),
        "gate": None if outcome.gate is None else outcome.gate.to_json(),
        "calibration": outcome.calibration,
        "layers": outcome.layers,
        "float_layers": list(dict.fromkeys(outcome.float_layers)),
        "recovery": [asdict(step) for step in outcome.recovery],
        "timings_s": outcome.timings_s,
        "cached": list(outcome.cached),
        "latency_ms": outcome.latency_ms,
        "environment": environment(),
    }


def as_text(value: Any) -> str:
    """JSON that any reader of UTF-8 takes; bytes of file names that are none are shown as `\\udce9`."""
    return json.dumps(_decodable(value), indent=1, ensure_ascii=False)


def _decodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_decodable(key): _decodable(each) for key, each in value.items()}
    return [_decodable(each) for each in value] if isinstance(value, (list, tuple)) else value


def beside(artifact: Path) -> Path:
    """Where the report of an artifact lies: `<artifact>.report.json`."""
    return artifact.with_name(f"{artifact.name}.report.json")


def write_json(value: dict[str, Any], artifact: Path) -> Path:
    """Write a report beside its artifact."""
    path = beside(artifact)
    text = as_text(value) + "\n"
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
        _print_recovery(console, outcome.recovery)
    for outcome in outcomes:
        console.print(f"[bold]{escape(str(outcome.path))}[/]", highlight=False, soft_wrap=True)


def _print_recovery(console: Console, steps: Sequence[FallbackRow]) -> None:
    """The Pareto table: what layers in float cost and bring."""
    if not steps:
        return
    table = Table(
        "layers in float", "size", "an image", "SQNR, held out", "agreement", "verdict", box=None, pad_edge=False
    )
    for step in steps:
        table.add_row(
            str(step.layers),
            f"{step.bytes / 1e6:.1f} MB",
            f"{step.milliseconds:.1f} ms",
            f"{step.sqnr_db:.1f} dB",
            f"{step.agreement:.2%}",
            f"[{VERDICT_STYLES[step.verdict]}]{step.verdict}[/]",
        )
    console.print(table)


def print_drift(console: Console, drift: Drift, gate: Gate) -> None:
    """Verdict first, then the figures behind it."""
    console.print(f"{_verdict(gate)} on {drift.images} images", highlight=False)
    for reason in gate.reasons:
        console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    top1 = "unlabelled"
    if drift.top1_reference is not None and drift.top1_candidate is not None:
        top1 = f"{drift.top1_reference:.2%} reference, {drift.top1_candidate:.2%} candidate"
    table.add_row("top-1", top1)
    if drift.top5_drop_ci95_pp is not None:
        low, high = drift.top5_drop_ci95_pp
        table.add_row("top-5 drop", f"{drift.top5_drop_pp:.2f} pp [{low:.2f}, {high:.2f}]")
        table.add_row("calibration error", f"{drift.ece_reference:.2%} reference, {drift.ece_candidate:.2%} candidate")
    if drift.top1_drop_p_value is not None:
        counts = f"{drift.top1_lost} answers lost, {drift.top1_gained} gained"
        table.add_row("McNemar's p", f"{drift.top1_drop_p_value:.3g} ({counts})")
    table.add_row("agreement, top-5", f"{drift.agreement_top5:.2%}")
    table.add_row("SQNR of the logits", f"{drift.sqnr_db:.1f} dB")
    table.add_row("largest error of a probability", f"{drift.max_abs_error:.2g}")
    flips = drift.flips_near_tie + drift.flips_confident
    table.add_row("flipped answers", f"{flips} ({drift.flips_near_tie} near-ties, {drift.flips_confident} confident)")
    for pair in drift.confusion[:MOST_PAIRS_SHOWN]:
        names = f"{printable(pair['reference'])} -> {printable(pair['candidate'])}"
        table.add_row("", escape(f"{pair['images']} x {names}"))
    console.print(table)


def print_blame(console: Console, blame: Sequence[dict[str, Any]]) -> None:
    """A line for each step from the trained network to what a device says; see `convert.drift.attribution`."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for step in blame:
        sqnr = "equal outputs" if step["sqnr_db"] is None else f"{step['sqnr_db']:.1f} dB"
        agreement = "" if step["agreement"] is None else f"{step['agreement']:.2%} agree"
        images = "" if step["images"] is None else f"{step['images']} images"
        table.add_row(f"{step['from']} -> {step['to']}", sqnr, agreement, images)
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
    if outcome.calibration is not None:
        seen = outcome.calibration
        cells["calibrated on"] = f"{seen['images']} images, {seen['calibrator']}"
        if seen["halves_differ"] is not None:
            cells["ranges of two halves"] = f"{seen['halves_differ']:.1%} apart"
    weakest = [layer for layer in outcome.layers if layer["sqnr_db"] is not None]
    if weakest:
        layer = min(weakest, key=lambda layer: float(layer["sqnr_db"]))
        cells["weakest layer"] = f"{escape(layer['name'])}, {layer['sqnr_db']:.1f} dB"
    return {**cells, "verdict": _verdict(outcome.gate)}
