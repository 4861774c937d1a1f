"""The verdict for continuous integration: JUnit XML, and the summary of a GitHub Actions step."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from convert.reporting.devices import FLEET_COLUMNS, device_rows, fleet_errors, fleet_remarks, fleet_rows
from convert.reporting.formatting import Report, count, drift_rows, probability
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from convert.system.temporary import write_atomically
from edge_runtime.console import printable
from edge_runtime.errors import EdgeError

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
MARKS = {PASS: "✅", FAIL: "❌", INCONCLUSIVE: "❔"}
ARTIFACT = (("artifact", "path"), ("sha256", "sha256"))
"""Name of a fact, and its key in a report's `artifact`."""
MOST_FLIPS_SHOWN = 10
MARKDOWN = re.compile(r"([\\`*_\[\]#|~$@])")
"""Characters that mean something within a line of Markdown or to GitHub; "<" and "&" are left to `html.escape`."""


def write_junit(path: Path, reports: Sequence[Report]) -> None:
    """Write a test suite for each report, with a test case for each limit; inconclusive is a failure of its own type.

    A report is one of `convert.drift.run`, of an `Outcome` or of `device_reports`. A file that cannot be written is a
    `ConvertError`.
    """
    suites = [_test_suite(report) for report in reports]
    root = suites[0] if len(suites) == 1 else ElementTree.Element("testsuites")
    root.extend([] if len(suites) == 1 else suites)
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree)
    write_atomically(path, lambda partial: tree.write(partial, encoding="utf-8", xml_declaration=True))


@contextmanager
def errors_in(program: str, judged: Path, path: Path | None, others: Sequence[Path] = ()) -> Iterator[None]:
    """Write an error of the block as JUnit XML, and remove what an earlier run wrote, which is not of this one.

    A run that is interrupted leaves them as they are.

    Args:
        program: name of the command.
        judged: what the run is about.
        path: of the XML; None if none is wanted.
        others: files to remove.
    """
    try:
        yield
    except (EdgeError, OSError) as error:
        for old in others:
            old.unlink(missing_ok=True)
        if path is not None:
            text = " ".join(str(error).split())
            write_junit(path, [{"program": program, "artifact": {"path": str(judged)}, "error": text}])
        raise


def _test_suite(report: Report) -> ElementTree.Element:
    """Return a suite; an artifact whose drift was not measured has no case in it, a device without answers an error."""
    name = "irv2-convert" if "scheme" in report else " ".join(["irv2-drift", *filter(None, [report.get("address")])])
    if report.get("error"):
        return _broken_suite(report, printable(report.get("program", name)))
    cases = [_test_case(reason, report) for reason in (report["gate"] or {"reasons": ()})["reasons"]]
    failures = sum(len(case) for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": "0"}
    suite = ElementTree.Element("testsuite", {"name": printable(name), **counts})
    properties = ElementTree.SubElement(suite, "properties")
    warnings = [("warning", text) for text in report.get("warnings", ())]
    for fact, value in (*warnings, *_facts(report)):
        ElementTree.SubElement(properties, "property", name=fact, value=printable(value))
    suite.extend(cases)
    flips = (report["drift"] or {"flips": ()})["flips"]
    ElementTree.SubElement(suite, "system-out").text = "\n".join(map(_flip, flips))
    return suite


def _broken_suite(report: Report, name: str) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=name, tests="1", failures="0", errors="1", skipped="0")
    what = "device answers" if "address" in report else "run"
    case = ElementTree.SubElement(suite, "testcase", classname=f"drift.{_artifact(report)}", name=what)
    ElementTree.SubElement(case, "error", type="error", message=printable(report["error"]))
    return suite


def _test_case(reason: str, report: Report) -> ElementTree.Element:
    verdict, text = reason.split(": ", 1)
    name = " ".join(text.split()[:2])
    case = ElementTree.Element("testcase", classname=f"drift.{_artifact(report)}", name=name)
    if verdict != PASS:
        ElementTree.SubElement(case, "failure", type=verdict, message=text)
    return case


def _artifact(report: Report) -> str:
    return printable(Path(report["artifact"]["path"]).name)


def append_step_summary(reports: Sequence[Report], complain: Callable[[str], object]) -> None:
    """Append each verdict as Markdown to the step's summary, if the environment names its file.

    What was not measured has no verdict. A summary that cannot be written is a warning, passed to `complain`; it does
    not change the verdict.
    """
    path = os.environ.get(STEP_SUMMARY)
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(step_summary(report) for report in reports if report["gate"] is not None)
    except OSError as error:
        complain(f"warning: {STEP_SUMMARY} {path} cannot be written: {error.strerror or error}")


def step_summary(report: Report) -> str:
    """Return verdict, reasons, figures and the most confident changed answers as Markdown; names are escaped."""
    gate, flips = report["gate"], report["drift"]["flips"][:MOST_FLIPS_SHOWN]
    name = markdown(Path(report["artifact"]["path"]).name)
    lines = [f"### {MARKS[gate['verdict']]} drift of {name}: {gate['verdict']}", ""]
    said = [*(f"warning: {each}" for each in report.get("warnings", ())), *gate["reasons"]]
    lines += [*_fleet_lines(report), *(f"- {markdown(each)}" for each in said)]
    lines += ["", "| | |", "|---|---|", *(f"| {key} | {markdown(value)} |" for key, value in _facts(report))]
    if flips:
        lines += ["", "| flipped image | reference | candidate |", "|---|---|---|"]
        lines += [
            f"| {' | '.join(map(markdown, (flip['image'], _answer(flip['reference']), _answer(flip['candidate']))))} |"
            for flip in flips
        ]
    return "\n".join([*lines, "", ""])


def _fleet_lines(report: Report) -> list[str]:
    """Return a table with a row for each device, and what else is to be said; nothing for a report of one device."""
    rows = [f"| {' | '.join(map(markdown, row.values()))} |" for row in fleet_rows(report)]
    said = [f"- {markdown(line)}" for line in (*fleet_errors(report), *fleet_remarks(report))]
    if not rows:
        return []
    return [f"| {' | '.join(FLEET_COLUMNS)} |", "|---" * len(FLEET_COLUMNS) + "|", *rows, "", *said]


def markdown(text: str) -> str:
    """Escape text so that Markdown shows it literally: no link, image, tag, mention or table cell.

    It must not stand at the beginning of a line, where more has a meaning.
    """
    return MARKDOWN.sub(r"\\\1", html.escape(printable(text)).replace("&#x27;", "'").replace("&quot;", '"'))


def _facts(report: Report) -> list[tuple[str, str]]:
    drift, artifact = report["drift"], [(name, report["artifact"][key]) for name, key in ARTIFACT]
    if drift is None:
        return artifact
    of = f" of {count(report['sampling']['available'])}" if "sampling" in report else ""
    return [
        *artifact,
        ("images", f"{count(drift['images'])}{of}"),
        *drift_rows(drift),
        *device_rows(report.get("device", {})),
    ]


def _flip(flip: dict[str, Any]) -> str:
    return printable(f"{flip['image']}: {_answer(flip['reference'])} -> {_answer(flip['candidate'])}")


def _answer(answer: dict[str, Any]) -> str:
    return f"{answer['label']} {probability(answer['probability'])}"
