"""The tables that commands print: one column per artifact of a conversion, and the figures of a drift check."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.audit.islands import island_lines
from convert.reporting.conversion_figures import (
    calibration_images,
    halves,
    layer_advice,
    most_accumulated,
    noisiest_layer,
    speed,
    speed_notes,
)
from convert.reporting.devices import FLEET_COLUMNS, device_rows, fleet_errors, fleet_remarks, fleet_rows
from convert.reporting.formatting import (
    WORDS,
    Report,
    attribution_cells,
    clear_agreement,
    count,
    decibel,
    drift_rows,
    head_text,
    megabytes,
    milliseconds,
    percent,
    percent_interval,
    points,
    points_interval,
    sqnr,
    sqnr_name,
)
from convert.reporting.outcome import FallbackRow, Outcome, report_path
from convert.statistics.verdict import ANYTIME, FAIL, INCONCLUSIVE, PASS, worst
from edge_runtime.console import printable
from edge_runtime.specs import SOFTMAX

VERDICT_STYLES = {PASS: "bold green", FAIL: "bold red", INCONCLUSIVE: "bold yellow"}
NOT_MEASURED = "not measured"
NEXT = {
    FAIL: "the report shows which answers changed, and why; --recover keeps as few layers in float as pass",
    INCONCLUSIVE: "pass more images to --validation: above is how many would decide",
}
"""Worst verdict -> what to do."""
NARROWER = "the intervals allow for stopping early; for few images use --no-stop-early, with those of irv2-convert"
PAGE = ".html"
"""Suffix of the report as a page, which lies beside the one for programs."""
MOST_PAIRS_SHOWN = 5
WIDEST = 1000
"""Characters of a line in which any table has room."""
SOURCE_ROWS = {"in front": "front", "slow layers": "slow_layers"}
"""Title -> key of a report's `source`."""


def print_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print a column for each artifact, the reasons for each verdict, and last what most users look for."""
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
    for note in dict.fromkeys(note for outcome in outcomes for note in _notes(outcome)):
        console.print(escape(printable(note)), highlight=False, soft_wrap=True)
    for outcome in outcomes:
        if outcome.recovery:
            console.print(_fallbacks(outcome.recovery))
    console.print()
    print_warnings(console, [outcome.to_json() for outcome in outcomes])
    print_verdicts(console, outcomes)
    for outcome in outcomes:
        console.print(
            f"report: {_shown_path(report_path(outcome.path).with_suffix(PAGE))}", highlight=False, soft_wrap=True
        )
    console.print(f"next:   {escape(_next_step(outcomes))}", highlight=False, soft_wrap=True)


def print_verdicts(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print a line for each artifact: its verdict, its file, its size and its speed."""
    for outcome in outcomes:
        verdict = NOT_MEASURED if outcome.gate is None else _styled(outcome.gate.verdict)
        figures = [megabytes(outcome.bytes), speed(outcome.to_json()) if outcome.latency_ms is not None else ""]
        line = ", ".join([f"{verdict}: [bold]{_shown_path(outcome.path)}[/]", *filter(None, figures)])
        console.print(line, highlight=False, soft_wrap=True)
    for line in passed_before(outcomes):
        console.print(escape(line), highlight=False, soft_wrap=True)


def print_warnings(console: Console, reports: Sequence[Report]) -> None:
    """Print, once each, why the figures may not be what they seem to be."""
    for warning in dict.fromkeys(each for report in reports for each in report.get("warnings", ())):
        console.print(f"[bold yellow]warning:[/] {escape(printable(warning))}", highlight=False, soft_wrap=True)


def print_failing_limits(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print a line for each limit that an artifact does not keep for sure."""
    for outcome in outcomes:
        for reason in outcome.gate.reasons if outcome.gate else ():
            if not reason.startswith(PASS):
                console.print(f"{outcome.scheme.name}: {escape(reason)}", highlight=False, soft_wrap=True)


def passed_before(outcomes: Sequence[Outcome]) -> list[str]:
    """Say which artifacts had passed under the name of one that did not, and what became of them."""
    lines = []
    for outcome in outcomes:
        if outcome.passed_before is not None and (outcome.gate is None or outcome.gate.verdict != PASS):
            is_gone = outcome.passed_before == outcome.path
            fate = "was replaced by one that was not measured" if is_gone else "stays"
            lines.append(printable(f"before: {outcome.passed_before} had passed, and {fate}"))
    return list(dict.fromkeys(lines))


def _next_step(outcomes: Sequence[Outcome]) -> str:
    """Return what to type, or to do, after a conversion: the first artifact that did not fall short is to be used."""
    usable = next((each for each in outcomes if each.gate is None or each.gate.verdict == PASS), None)
    if usable is None:
        return NEXT[worst([outcome.gate.verdict for outcome in outcomes if outcome.gate is not None])]
    image = Path("IMAGE") if usable.compared is None else usable.compared.reference.paths[0]
    here = Path.cwd()
    shorter = image.relative_to(here) if image.is_relative_to(here) else image
    return printable(f"irv2-predict {shlex.join([str(usable.path), str(shorter)])}")


def _shown_path(path: Path) -> str:
    return escape(printable(str(path)))


def print_report(console: Console, report: Report) -> None:
    """Print the report of a drift check: the verdict first, then the figures behind it and where the drift is from."""
    print_verdict(console, report)
    if "fleet" in report:
        return
    print_warnings(console, [report])
    drift, gate = report["drift"], report["gate"]
    for reason in gate["reasons"]:
        console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
    if gate["verdict"] == INCONCLUSIVE and drift["interval"] == ANYTIME:
        console.print(f"  {NARROWER}", highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text in drift_rows(drift):
        table.add_row(name, text)
    for pair in drift["confusion"][:MOST_PAIRS_SHOWN]:
        classes = f"{printable(pair['reference'])} -> {printable(pair['candidate'])}"
        table.add_row("", escape(f"{count(pair['images'])} x {classes}"))
    console.print(table)
    console.print(_attribution(report["blame"]))
    if "device" in report:
        rows = Table(box=None, show_header=False, pad_edge=False)
        for name, text in device_rows(report["device"]):
            rows.add_row(name, escape(printable(text)))
        console.print(rows)
    console.print()
    print_reasoned_verdict(console, report)


def _print_fleet(console: Console, report: Report) -> None:
    """Print a row for each device, why others have none, which are odd, and why some did not pass."""
    _print_devices(console, fleet_rows(report))
    for line in fleet_errors(report):
        console.print(f"[bold red]error[/] {escape(printable(line))}", highlight=False, soft_wrap=True)
    for line in fleet_remarks(report):
        console.print(escape(printable(line)), highlight=False, soft_wrap=True)
    for each in report["fleet"]["devices"]:
        for reason in each["gate"]["reasons"] if "gate" in each else ():
            if not reason.startswith(PASS):
                line = escape(printable(f"{each['address']}: {reason}"))
                console.print(line, highlight=False, soft_wrap=True)


def _print_devices(console: Console, rows: Sequence[dict[str, str]]) -> None:
    """Print a table if there is room for it; else a line for each device below its address, which is never broken."""
    cells = [
        {name: escape(printable(text)) for name, text in row.items()} | {"verdict": _styled(row["verdict"])}
        for row in rows
    ]
    table = Table(*FLEET_COLUMNS, box=None, pad_edge=False)
    for row in cells:
        table.add_row(*row.values())
    if console.measure(table, options=console.options.update(width=WIDEST)).maximum <= console.width:
        console.print(table)
        return
    for address, *others in (tuple(row.items()) for row in cells):
        figures = ", ".join(f"{name} {text}" for name, text in others if text)
        console.print(f"[bold]{address[1]}[/]\n  {figures}", highlight=False, soft_wrap=True)


def print_reasoned_verdict(console: Console, report: Report) -> None:
    """Print the verdict as `print_verdict` does, and in the same line why it is not "pass"."""
    reasons = () if "fleet" in report else report["gate"]["reasons"]
    short = "; ".join(reason.split(": ", 1)[1] for reason in reasons if not reason.startswith(PASS))
    print_verdict(console, report, f": {short}" if short else "")


def print_quietly(console: Console, report: Report) -> None:
    """Print warnings, and in one line the artifact, its verdict and the reasons; of several devices a line of each."""
    print_warnings(console, [report])
    if "fleet" not in report:
        console.print(f"{_shown_path(Path(report['artifact']['path']))}: ", end="", highlight=False, soft_wrap=True)
    print_reasoned_verdict(console, report)


def print_verdict(console: Console, report: Report, why: str = "") -> None:
    """Print the verdict of a drift check in one line; of several devices the line of each, and what is odd."""
    if "fleet" in report:
        _print_fleet(console, report)
        return
    drift, head = report["drift"], report["drift"].get("head", SOFTMAX)
    of_labels = "" if head == SOFTMAX else f", {head_text(head, drift['classes'])}"
    verdict = _styled(report["gate"]["verdict"])
    line = f"{verdict} on {count(drift['images'])} images{of_labels}{escape(why)}"
    console.print(line, highlight=False, soft_wrap=True)


def _attribution(steps: Sequence[Report]) -> Table:
    """Return a row for each step from the Keras network to the device, see `convert.drift.attribution`."""
    table = Table("step", "SQNR", "agreement", "images", box=None, pad_edge=False)
    for step in steps:
        table.add_row(f"{step['from']} -> {step['to']}", *attribution_cells(step))
    return table


def _fallbacks(rows: Sequence[FallbackRow]) -> Table:
    """Return what layers in float cost and gain."""
    names = ("layers in float", "size", "time per image", "held-out SQNR", "agreement", "verdict")
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            count(row.layers),
            megabytes(row.bytes),
            milliseconds(row.milliseconds),
            decibel(row.sqnr_db),
            percent(row.agreement),
            _styled(row.verdict),
        )
    return table


def _notes(outcome: Outcome) -> list[str]:
    """Return what is to be said below the table."""
    report = outcome.to_json()
    return [*speed_notes(report), *layer_advice(report)]


def _styled(verdict: str) -> str:
    return f"[{VERDICT_STYLES[verdict]}]{verdict}[/]"


def _cells(outcome: Outcome) -> dict[str, str]:
    """Return the column of one artifact: row -> text."""
    report = outcome.to_json()
    cells = {"scheme": outcome.scheme.name, "size": megabytes(outcome.bytes)}
    if outcome.head != SOFTMAX:
        cells["head"] = head_text(outcome.head, outcome.classes)
    drift = outcome.drift
    if drift is not None and drift.top1_drop_ci95_pp is not None:
        rank = WORDS[drift.head].row
        cells[f"{rank} float"] = percent(drift.top1_reference)
        cells[f"{rank} quantized"] = percent(drift.top1_candidate)
        cells["drop"] = f"{points(drift.top1_drop_pp)} {points_interval(drift.top1_drop_ci95_pp)}"
    if drift is not None:
        cells["agreement"] = f"{percent(drift.agreement_top1)} {percent_interval(drift.agreement_ci95)}"
        if drift.agreement_labels is not None:
            cells["agreement, each label"] = percent(drift.agreement_labels)
        cells |= {name: text for name, text in clear_agreement(report["drift"])}
        cells[sqnr_name(report["drift"])] = sqnr(report["drift"])
        cells["images"] = count(drift.images)
    if outcome.calibration is not None:
        cells["calibration"] = calibration_images(outcome.calibration)
        cells["split-half difference"] = halves(outcome.calibration) or ""
    for row, key in SOURCE_ROWS.items():
        if outcome.source.get(key):
            cells[row] = "\n".join(escape(printable(line)) for line in outcome.source[key])
    if outcome.float_islands:
        cells["left in float"] = "\n".join(escape(printable(line)) for line in island_lines(outcome.float_islands))
    if outcome.raised.filters:
        cells["scales raised"] = str(outcome.raised)
    cells["time"] = speed(report) if outcome.latency_ms is not None else ""
    cells["noisiest layer"] = escape(noisiest_layer(report) or "")
    cells["lowest accumulated"] = escape(most_accumulated(report) or "")
    cells = {name: text for name, text in cells.items() if text}
    return {**cells, "verdict": NOT_MEASURED if outcome.gate is None else _styled(outcome.gate.verdict)}
