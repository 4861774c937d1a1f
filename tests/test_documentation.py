"""The documentation holds together: commands and options, links, navigation, and the keys that programs rely on."""

from __future__ import annotations

import argparse
import json
import re
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from convert.reporting import answers_csv
from edge_runtime import InputSpec, answers
from edge_runtime.geometry import FITS, FITS_AS
from edge_runtime.jpeg_scaling import DECODINGS
from edge_runtime.resampling import RESIZE_FILTERS
from edge_runtime.specs import CHANNEL_ORDERS
from scripts.command_reference import ARGPARSE, CLICK, markdown
from tests.conftest import run_command

ROOT = Path(__file__).parents[1]
PLACES = ("*.md", "docs/**/*.md", "benchmarks/*.md", "calibration_data/*.md", "edge_runtime/*.md")
PAGES = sorted(page for place in PLACES for page in ROOT.glob(place))
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"(?:\]\(|src=\"|srcset=\")([^)\"\s]+)[)\"]")
OF_OTHERS = {"--platform", "--target"}
"""Options in pages that are no option of ours."""


def click_options(command: click.Command, name: str) -> Iterator[tuple[str, str, str | None]]:
    """Command, option and help, of a command and of those below it."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in (*parameter.opts, *parameter.secondary_opts):
                yield name, option, parameter.help
    for below, subcommand in getattr(command, "commands", {}).items():
        yield from click_options(subcommand, f"{name} {below}")


def options() -> list[tuple[str, str, str | None]]:
    """Command, option and help: all that users can type, as the parsers have it."""
    found = [option for name, command in CLICK.items() for option in click_options(command, name)]
    for name, parser in ARGPARSE.items():
        for action in parser()._actions:
            if action.help != argparse.SUPPRESS and action.dest != "help":
                found += [(name, option, action.help) for option in action.option_strings]
    return found


def commands() -> dict[str, str | None]:
    """Command or subcommand -> its help."""
    found = {name: command.help for name, command in CLICK.items()}
    for name, command in CLICK.items():
        found |= {f"{name} {below}": sub.help for below, sub in getattr(command, "commands", {}).items()}
    return found | {name: parser().description for name, parser in ARGPARSE.items()}


def prose(page: Path) -> str:
    """A page without its examples."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """What a link into a page can name: its headings, as GitHub and the site spell them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_these_are_the_commands_that_are_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["scripts"]) == {*CLICK, *ARGPARSE}


def test_every_command_has_help() -> None:
    assert [name for name, text in commands().items() if not text] == []


def test_every_option_has_help() -> None:
    assert [f"{command} {option}" for command, option, text in options() if not text] == []


def test_the_reference_has_every_command_and_every_option_once() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", markdown(), re.MULTILINE | re.DOTALL))
    listed = Counter(
        (command, option)
        for command, section in sections.items()
        for row in re.findall(r"^\| (`-.*?) \|", section, re.MULTILINE)
        for option in re.findall(r"`(-[\w-]+)`", row)
    )
    assert set(sections) == set(commands())
    assert listed == Counter((command, option) for command, option, _ in options())


def test_options_that_pages_mention_exist() -> None:
    known = {option for _, option, _ in options()} | OF_OTHERS | {"--help"}
    wrong = {
        f"{page.relative_to(ROOT)}: {option}"
        for page in PAGES
        if page.name == "README.md" or page.is_relative_to(ROOT / "docs")
        for code in CODE.findall(prose(page))
        if not code.startswith(("`pip", "`apt", "`ssh", "`docker", "`uv"))
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
        if option not in known
    }
    assert wrong == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """In a checkout, too, which lacks the pages that are made with the site."""
    broken = []
    for link in LINK.findall(CODE.sub("", prose(page))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if re.match(r"[a-z]+:", link):
            continue
        named = anchor in anchors(target) or "." in anchor if anchor and target.is_file() else True
        if not target.exists() or not named:
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    def files(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            for what in entry.values():
                yield from files(what) if isinstance(what, list) else [what]

    listed = list(files(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert pages - set(listed) == set()
    assert len(listed) == len(set(listed))


OPAQUE = {
    "preprocessing",
    "source",
    "raised_scales.layers",
    "timings_s",
    "environment.versions",
    "calibration.tried_sqnr_db",
    "recovery",
}
"""Keys of a report whose values have keys of their own that depend on the run."""
LABEL_AND_PROBABILITY = ("drift.flips[].reference", "drift.flips[].candidate")
OCCASIONAL = {"head", "gate.looks", "drift.head", "drift.agreement_labels"}
"""Keys that most reports lack."""
OF_DEVICES = ("device.", "fleet.")
"""What keys begin with that only a report of a device over SSH has, which is not made here."""


def keys(value: Any, at: str = "") -> Iterator[str]:
    """The keys of a JSON value and of what is in it: "drift.flips[].image"."""
    if isinstance(value, list):
        for each in value:
            yield from keys(each, f"{at}[]") if isinstance(each, dict) else [at]
        yield from [] if value else [at]
    elif not isinstance(value, dict) or not value or at in OPAQUE or at.startswith(LABEL_AND_PROBABILITY):
        yield at
    else:
        for key, each in value.items():
            yield from keys(each, f"{at}.{key}".removeprefix("."))


def documented(heading: str) -> Counter[str]:
    """The keys in the first column of a section of the contracts."""
    contracts = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    section = re.search(rf"^#+ {heading}\n(.*?)(?=^#+ |\Z)", contracts, re.MULTILINE | re.DOTALL)
    assert section is not None
    cells = re.findall(r"^\| (`.*?) \|", section[1], re.MULTILINE)
    return Counter(key for cell in cells for key in re.findall(r"`([^`]+)`", cell))


@pytest.fixture(scope="module")
def converted(
    small_model: Path, colour_labels: Path, calibration_folder: Path, validation_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """The folder of an artifact whose drift was measured, and its report."""
    folder = tmp_path_factory.mktemp("documentation") / "build"
    finished = run_command(
        "irv2-convert", "--model", small_model, "--labels", colour_labels, "--preprocessing", "tf",
        "--calibration", calibration_folder, "--validation", validation_folder, "--quantize", "none,int8",
        "--output-dir", folder,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    return folder


def test_every_key_of_a_report_is_in_the_contracts_once(converted: Path, validation_folder: Path) -> None:
    artifact, reference = converted / "colours.int8.tflite", converted / "colours.none.tflite"
    line = ("irv2-drift", artifact, "--reference", reference, "--images", validation_folder, "--json", "--max-drop", -5)
    judged = run_command(*line)
    assert judged.code == 3, judged.err
    reports = [json.loads(judged.out)]
    reports += [json.loads(path.read_text()) for path in converted.glob("*.report.json")]
    found = {key for report in reports for key in keys(report)}
    listed = documented("Report JSON")
    values = {key for key in found if not any(other.startswith((f"{key}.", f"{key}[]")) for other in (*found, *listed))}
    seen = {key.rpartition("[]")[0] for key in found}
    unseen = (key for key in listed if key not in found and not key.startswith(OF_DEVICES))
    invented = {key for key in unseen if key.rpartition("[]")[0] in seen}
    assert [key for key, count in listed.items() if count > 1] == []
    assert values - set(listed) == set()
    assert invented <= OCCASIONAL


def test_every_key_of_a_card_is_in_the_contracts_once(converted: Path) -> None:
    with zipfile.ZipFile(converted / "colours.int8.tflite") as archive:
        card = json.loads(archive.read("card.json"))
    assert documented("Card") == Counter({*card, "head"})


def test_every_key_of_the_preprocessing_is_in_the_contracts_once_with_its_values() -> None:
    assert documented("Preprocessing") == Counter(field.name for field in fields(InputSpec))
    contracts = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    spec = InputSpec(1, 1, (0, 0, 0), (1, 1, 1))
    named = {
        "channel_order": CHANNEL_ORDERS,
        "decode": DECODINGS,
        "resize": RESIZE_FILTERS,
        "fit": FITS,
        "fit_as": FITS_AS,
    }
    for key, values in named.items():
        ((listed, left_out),) = re.findall(rf"^\| `{key}` \| (.*) \| `(.*)` \|$", contracts, re.MULTILINE)
        assert tuple(re.findall(r"`([\w-]+)`", listed)) == tuple(values)
        assert left_out == getattr(spec, key)


def told(value: dict[str, Any], *closed: str) -> Counter[str]:
    """The keys of what a command prints, without those below the `closed` ones."""
    return Counter({next((each for each in closed if key.startswith(f"{each}.")), key) for key in keys(value)})


def test_every_key_that_other_commands_print_is_in_the_contracts_once(
    converted: Path, small_model: Path, validation_folder: Path, tmp_path: Path
) -> None:
    artifact, picture, recording = (
        converted / "colours.int8.tflite",
        min(validation_folder.rglob("*.png")),
        tmp_path / "r",
    )
    predicted = run_command("irv2-predict", artifact, picture, "--json", "--record", recording)
    timed = run_command("irv2-benchmark", artifact, "--runs", 1, "--warmup", 1, "--json")
    verified = run_command(
        "irv2-convert", "verify", artifact, "--json", "--model", small_model, "--preprocessing", "tf",
        "--validation", picture.parent,
    )  # fmt: skip
    assert verified.code == 3, "not the images that it was judged on: nothing is built again"
    assert told(json.loads(predicted.out), "receipt") == documented("Prediction JSON")
    assert told(json.loads(recording.read_text()), "receipt") == documented("Recording")
    assert told(json.loads(timed.out), "inference[].receipt", "before", "after") == documented("Benchmark JSON")
    assert told(json.loads(verified.out), "sha256") == documented("Verification JSON")


def test_every_key_of_a_comparison_is_in_the_contracts_once(converted: Path, validation_folder: Path) -> None:
    names = (converted / "colours.int8.tflite", converted / "colours.none.tflite")
    compared = run_command("irv2-convert", "compare", *names, "--images", validation_folder, "--json")
    found = json.loads(compared.out)
    both = found | {"layers": [{"key": "", "a": None, "b": None}]}  # none is compared where one is float
    assert told(both, "answers", "card[].a", "card[].b") == documented("Comparison JSON")


def test_the_columns_of_csv_are_in_the_contracts() -> None:
    contracts = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    for command, columns in (("irv2-predict --csv", answers.COLUMNS), ("irv2-drift --csv FILE", answers_csv.COLUMNS)):
        (row,) = re.findall(rf"^\| `{command}` \| (.*) \|$", contracts, re.MULTILINE)
        assert tuple(re.findall(r"`(\w+)`", row)) == columns
