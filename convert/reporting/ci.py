"""The verdict where continuous integration shows it: JUnit XML, and the summary of a GitHub Actions step."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS
from convert.system.atomic import write_atomically
from edge_runtime.console import printable

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
MARKS = {PASS: "✅", FAIL: "❌", INCONCLUSIVE: "❔"}
MOST_FLIPS_SHOWN = 10
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$@-])")
"""What Markdown, or GitHub, gives a meaning; "<" and "&" are left to `html.escape`."""


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, `--junit`, `--html` and `--no-thumbnails`."""
    file = click.Path(path_type=Path)
    for option in (
        click.option("--no-thumbnails", is_flag=True, help="Leave pictures and folders out of the page."),
        click.option("--html", type=file, metavar="FILE", help="Write the report as an HTML page."),
        click.option("--junit", type=file, metavar="FILE", help="Write JUnit XML."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    ):
        command = option(command)
    return command


def write_junit(path: Path, report: dict[str, Any]) -> None:
    """Write a test suite with a test case for each limit; what is not certain counts as failed, with its own type.

    Args:
        path: of the XML file.
        report: as of `convert.drift.run`.

    Raises:
        ConvertError: it cannot be written; nothing is left behind.
    """
    cases = [_test_case(reason, report) for reason in report["gate"]["reasons"]]
    failures = sum(len(case) for case in cases)
    suite = ElementTree.Element(
        "testsuite", name="irv2-drift", tests=str(len(cases)), failures=str(failures), errors="0", skipped="0"
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _facts(report):
        ElementTree.SubElement(properties, "property", name=name, value=printable(value))
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = "\n".join(_flip(flip) for flip in report["drift"]["flips"])
    tree = ElementTree.ElementTree(suite)
    ElementTree.indent(tree)
    write_atomically(path, lambda partial: tree.write(partial, encoding="utf-8", xml_declaration=True))


def _test_case(reason: str, report: dict[str, Any]) -> ElementTree.Element:
    verdict, text = reason.split(": ", 1)
    name = " ".join(text.split()[:2])
    case = ElementTree.Element(
        "testcase", classname=f"drift.{printable(Path(report['artifact']['path']).name)}", name=name
    )
    if verdict != PASS:
        ElementTree.SubElement(case, "failure", type=verdict, message=text)
    return case


def append_step_summary(report: dict[str, Any], complain: Callable[[str], object]) -> None:
    """Append the verdict as Markdown to the summary of the step, where the environment names its file.

    A summary that cannot be written is complained about; the verdict stands without it.
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
    """The verdict, its reasons, the figures and the most confident flips, as Markdown; names are escaped."""
    gate, flips = report["gate"], report["drift"]["flips"][:MOST_FLIPS_SHOWN]
    name = markdown(Path(report["artifact"]["path"]).name)
    lines = [f"### {MARKS[gate['verdict']]} drift of {name}: {gate['verdict']}", ""]
    lines += [f"- {markdown(reason)}" for reason in gate["reasons"]]
    lines += ["", "| | |", "|---|---|", *(f"| {key} | {markdown(value)} |" for key, value in _facts(report))]
    if flips:
        lines += ["", "| flipped image | reference | candidate |", "|---|---|---|"]
        lines += [
            f"| {markdown(flip['image'])} | {_best(flip, 'reference')} | {_best(flip, 'candidate')} |" for flip in flips
        ]
    return "\n".join([*lines, "", ""])


def markdown(text: str) -> str:
    """`text` as Markdown shows it letter by letter: no link, no image, no tag, no mention, no cell of a table."""
    return MARKDOWN.sub(r"\\\1", html.escape(printable(text)).replace("&#x27;", "'").replace("&quot;", '"'))


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    drift = report["drift"]
    facts = [
        ("artifact", report["artifact"]["path"]),
        ("sha256", report["artifact"]["sha256"]),
        ("images", f"{drift['images']} of {report['sampling']['available']}"),
        ("agreement", f"{drift['agreement_top1']:.2%}"),
        ("flips", f"{drift['flips_near_tie']} near-ties, {drift['flips_confident']} confident"),
        ("SQNR", "equal outputs" if drift["sqnr_db"] is None else f"{drift['sqnr_db']:.1f} dB"),
    ]
    if drift["labelled"]:
        facts.append(("top-1", f"{drift['top1_reference']:.2%} reference, {drift['top1_candidate']:.2%} candidate"))
        facts.append(("top-5", f"{drift['top5_reference']:.2%} reference, {drift['top5_candidate']:.2%} candidate"))
    return facts


def _best(flip: dict[str, Any], side: str) -> str:
    return f"{markdown(flip[side]['label'])} {flip[side]['probability']:.1%}"


def _flip(flip: dict[str, Any]) -> str:
    pair = " -> ".join(f"{flip[side]['label']} {flip[side]['probability']:.1%}" for side in ("reference", "candidate"))
    return printable(f"{flip['image']}: {pair}")
