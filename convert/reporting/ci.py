"""The verdict for continuous integration: JUnit XML, and the summary of a GitHub Actions step."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from convert.reporting.devices import FLEET_COLUMNS, device_rows, fleet_errors, fleet_remarks, fleet_rows
from convert.reporting.formatting import count, drift_rows, probability
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from convert.system.temporary import write_atomically
from edge_runtime.console import printable

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
MARKS = {PASS: "✅", FAIL: "❌", INCONCLUSIVE: "❔"}
MOST_FLIPS_SHOWN = 10
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$@-])")
"""Characters that mean something in Markdown or to GitHub; "<" and "&" are left to `html.escape`."""


def write_junit(path: Path, report: dict[str, Any]) -> None:
    """Write a test suite with a test case for each limit; an inconclusive one is a failure of its own type.

    The report is one of `convert.drift.run`; of several devices each has a suite. A file that cannot be written is a
    `ConvertError`.
    """
    root = _suite(report, "irv2-drift")
    if "fleet" in report:
        root = ElementTree.Element("testsuites", name="irv2-drift")
        root.extend(_suite_of_device(report | each) for each in report["fleet"]["devices"])
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree)
    write_atomically(path, lambda partial: tree.write(partial, encoding="utf-8", xml_declaration=True))


def _suite_of_device(report: dict[str, Any]) -> ElementTree.Element:
    """Return the suite of one device of several; of one that did not answer, with that error alone."""
    name = printable(f"irv2-drift {report['address']}")
    if not report["error"]:
        return _suite(report, name)
    suite = ElementTree.Element("testsuite", name=name, tests="1", failures="0", errors="1", skipped="0")
    case = ElementTree.SubElement(suite, "testcase", classname=f"drift.{_artifact(report)}", name="device answers")
    ElementTree.SubElement(case, "error", type="error", message=printable(report["error"]))
    return suite


def _suite(report: dict[str, Any], name: str) -> ElementTree.Element:
    cases = [_test_case(reason, report) for reason in report["gate"]["reasons"]]
    failures = sum(len(case) for case in cases)
    suite = ElementTree.Element(
        "testsuite", name=name, tests=str(len(cases)), failures=str(failures), errors="0", skipped="0"
    )
    properties = ElementTree.SubElement(suite, "properties")
    for fact, value in _facts(report):
        ElementTree.SubElement(properties, "property", name=fact, value=printable(value))
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = "\n".join(_flip(flip) for flip in report["drift"]["flips"])
    return suite


def _test_case(reason: str, report: dict[str, Any]) -> ElementTree.Element:
    verdict, text = reason.split(": ", 1)
    name = " ".join(text.split()[:2])
    case = ElementTree.Element("testcase", classname=f"drift.{_artifact(report)}", name=name)
    if verdict != PASS:
        ElementTree.SubElement(case, "failure", type=verdict, message=text)
    return case


def _artifact(report: dict[str, Any]) -> str:
    return printable(Path(report["artifact"]["path"]).name)


def append_step_summary(report: dict[str, Any], complain: Callable[[str], object]) -> None:
    """Append the verdict as Markdown to the step's summary, if the environment names its file.

    A summary that cannot be written is a warning, passed to `complain`; it does not change the verdict.
    """
    path = os.environ.get(STEP_SUMMARY)
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(step_summary(report))
    except OSError as error:
        complain(f"warning: {STEP_SUMMARY} {path} cannot be written: {error.strerror or error}")


def step_summary(report: dict[str, Any]) -> str:
    """Return the verdict, its reasons, the figures and the most confident flips as Markdown; names are escaped."""
    gate, flips = report["gate"], report["drift"]["flips"][:MOST_FLIPS_SHOWN]
    name = markdown(Path(report["artifact"]["path"]).name)
    lines = [f"### {MARKS[gate['verdict']]} drift of {name}: {gate['verdict']}", ""]
    lines += [*_fleet_lines(report), *(f"- {markdown(reason)}" for reason in gate["reasons"])]
    lines += ["", "| | |", "|---|---|", *(f"| {key} | {markdown(value)} |" for key, value in _facts(report))]
    if flips:
        lines += ["", "| flipped image | reference | candidate |", "|---|---|---|"]
        lines += [
            f"| {' | '.join(map(markdown, (flip['image'], _answer(flip['reference']), _answer(flip['candidate']))))} |"
            for flip in flips
        ]
    return "\n".join([*lines, "", ""])


def _fleet_lines(report: dict[str, Any]) -> list[str]:
    """Return a table with a row for each device, and what else is to be said; nothing for a report of one device."""
    rows = [f"| {' | '.join(map(markdown, row.values()))} |" for row in fleet_rows(report)]
    said = [f"- {markdown(line)}" for line in (*fleet_errors(report), *fleet_remarks(report))]
    if not rows:
        return []
    return [f"| {' | '.join(FLEET_COLUMNS)} |", "|---" * len(FLEET_COLUMNS) + "|", *rows, "", *said]


def markdown(text: str) -> str:
    """Escape text so that Markdown shows it literally: no link, image, tag, mention or table cell."""
    return MARKDOWN.sub(r"\\\1", html.escape(printable(text)).replace("&#x27;", "'").replace("&quot;", '"'))


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("artifact", report["artifact"]["path"]),
        ("sha256", report["artifact"]["sha256"]),
        ("images", f"{count(report['drift']['images'])} of {count(report['sampling']['available'])}"),
        *drift_rows(report["drift"]),
        *device_rows(report.get("device", {})),
    ]


def _flip(flip: dict[str, Any]) -> str:
    return printable(f"{flip['image']}: {_answer(flip['reference'])} -> {_answer(flip['candidate'])}")


def _answer(answer: dict[str, Any]) -> str:
    return f"{answer['label']} {probability(answer['probability'])}"
