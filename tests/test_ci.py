"""The action for GitHub and the job for GitLab, run as those run them: each step's script in a shell of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.conftest import run_command, save_colour_pictures
from tests.edge_runtime.tiny_model import tiny_artifact

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
GITLAB = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab.yml").read_text("utf-8"))
GATE = (ROOT / "docs" / "gate.md").read_text("utf-8")
INSTALL, JUDGE = ACTION["runs"]["steps"]
OUTPUT = re.compile(r"^(\S+)<<(\S+)\n(.*?)\n\2$", re.MULTILINE | re.DOTALL)
"""An output of several lines, as GitHub reads it."""


@dataclass(frozen=True)
class Runner:
    """A machine of GitHub's: a workspace, a temporary folder, and files to leave things in."""

    workspace: Path
    home: Path
    files: dict[str, str] = field(default_factory=dict)

    def run(self, step: dict[str, Any], **inputs: str) -> int:
        """Run one step with inputs as a workflow gives them, and return its exit code."""
        known = {name: str(each.get("default", "")) for name, each in ACTION["inputs"].items()}
        known |= {name.replace("_", "-"): value for name, value in inputs.items()}
        script = self.home / "step.sh"
        script.write_text(step["run"], "utf-8")
        assert step["shell"] == "bash"
        environment = {
            name: re.sub(r"\$\{\{ inputs\.([\w-]+) }}", lambda match: known[match[1]], value)
            for name, value in step["env"].items()
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script],
            cwd=self.workspace,
            env={**os.environ, **environment, **self.files, "GITHUB_ACTION_PATH": str(ROOT)},
            check=False,
        )
        return done.returncode

    def outputs(self) -> dict[str, str]:
        """What the steps have put out."""
        text = Path(self.files["GITHUB_OUTPUT"]).read_text("utf-8")
        return {name: value for name, _, value in OUTPUT.findall(text)}

    def summary(self) -> str:
        return Path(self.files["GITHUB_STEP_SUMMARY"]).read_text("utf-8")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """With an artifact, another whose labels lie, images, and stored answers in its workspace."""
    workspace, home = tmp_path / "workspace", tmp_path / "runner"
    for folder in (workspace, home):
        folder.mkdir()
    files = {name: str(home / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
    for name in files.values():
        Path(name).touch()
    network = tiny_artifact().write(workspace / "mine.int8.tflite")
    replace(tiny_artifact(), labels=b"blue\ngreen\nred\n").signed().write(workspace / "lying one.tflite")
    save_colour_pictures(workspace / "photos" / "validation", 60, seed=3)
    line = ("irv2-drift", "--save-reference", "ref.npz", "--reference", network, "--images", "photos/validation")
    assert run_command(*line, cwd=workspace).code == 0
    return Runner(workspace, home, {**files, "RUNNER_TEMP": str(home)})


@pytest.fixture
def installed(runner: Runner) -> Runner:
    """Where the first step has made its environment: this one, in its place."""
    (runner.home / "irv2-edge").mkdir()
    (runner.home / "irv2-edge" / "bin").symlink_to(Path(sys.executable).parent)
    return runner


GATED = {"model": "mine.int8.tflite", "reference": "ref.npz", "images": "photos/validation"}


def test_a_gate_that_passes(installed: Runner) -> None:
    assert installed.run(JUDGE, **GATED, max_drop="5") == 0
    outputs = installed.outputs()
    assert set(outputs) == set(ACTION["outputs"])
    assert outputs == {
        "verdict": "pass",
        "artifact": "mine.int8.tflite",
        "page": "build/drift.html",
        "report": "build/drift.json",
        "junit": "build/drift.xml",
    }
    report = json.loads((installed.workspace / outputs["report"]).read_text("utf-8"))
    assert (report["gate"]["verdict"], report["gate"]["limits"]["max_drop_pp"]) == ("pass", 5)
    assert ElementTree.parse(installed.workspace / outputs["junit"]).getroot().get("failures") == "0"
    assert (installed.workspace / outputs["page"]).read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "pass" in installed.summary().splitlines()[0]


def test_a_gate_that_fails(installed: Runner) -> None:
    assert installed.run(JUDGE, **{**GATED, "model": "lying one.tflite"}, output_dir="reports of ci") == 3
    outputs = installed.outputs()
    assert (outputs["verdict"], outputs["artifact"]) == ("fail", "lying one.tflite")
    suite = ElementTree.parse(installed.workspace / "reports of ci" / "drift.xml").getroot()
    assert int(str(suite.get("failures"))) > 0
    assert "fail" in installed.summary().splitlines()[0]


def test_too_few_images_and_options_in_quotes(installed: Runner) -> None:
    options = "--images-size 10 --csv 'what each answered.csv'"
    assert installed.run(JUDGE, **GATED, options=options) == 4
    assert installed.outputs()["verdict"] == "inconclusive"
    assert (installed.workspace / "what each answered.csv").exists()


def test_an_error_has_no_report_but_a_test_that_ended_with_it(installed: Runner) -> None:
    assert installed.run(JUDGE, **{**GATED, "model": "missing.tflite"}) == 1
    assert installed.outputs() == {
        "verdict": "error",
        "artifact": "",
        "page": "",
        "report": "",
        "junit": "build/drift.xml",
    }
    suite = ElementTree.parse(installed.workspace / "build" / "drift.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


def test_what_is_given_is_never_run(installed: Runner) -> None:
    """The classic hole of actions: an input pasted into the script."""
    assert installed.run(JUDGE, **{**GATED, "model": "x.tflite; touch owned #"}, options="$(touch owned)") != 0
    assert not (installed.workspace / "owned").exists()
    assert all("${{" not in step["run"] for step in (INSTALL, JUDGE))


def test_a_conversion(installed: Runner, small_model: Path, calibration_folder: Path, validation_folder: Path) -> None:
    (installed.workspace / "labels.txt").write_text("blue\ngreen\nred\n")
    code = installed.run(
        JUDGE, model=str(small_model), images=str(validation_folder), calibration=str(calibration_folder),
        labels="labels.txt", preprocessing="tf", quantize="float16,int8",
    )  # fmt: skip
    assert code == 0
    outputs, made = installed.outputs(), ["build/colours.float16.tflite", "build/colours.int8.tflite"]
    assert (outputs["verdict"], outputs["artifact"].splitlines()) == ("pass", made)
    assert outputs["page"].splitlines() == [f"{path}.report.html" for path in made]
    suites = ElementTree.parse(installed.workspace / outputs["junit"]).getroot()
    assert (suites.tag, [suite.get("tests") for suite in suites]) == ("testsuites", ["2", "2"])
    assert [suite.get("name") for suite in suites] == ["irv2-convert"] * 2
    assert installed.summary().count("pass\n") == 2


@pytest.mark.slow
def test_the_first_step_installs_what_the_second_runs(runner: Runner) -> None:
    assert runner.run(INSTALL, **GATED) == 0
    assert runner.run(JUDGE, **GATED, max_drop="5") == 0
    assert not list((runner.home / "irv2-edge").glob("lib/*/site-packages/tensorflow")), "stored answers need none"


def test_the_page_names_every_input_and_output() -> None:
    section = GATE[GATE.index("### GitHub") : GATE.index("### GitLab")]
    for name in (*ACTION["inputs"], *ACTION["outputs"]):
        assert f"`{name}`" in section or f"{name}:" in section, name
    workflow = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)[0])
    (ours,) = (step for step in workflow["jobs"]["drift"]["steps"] if "irv2-edge" in step["uses"])
    assert set(ours["with"]) <= set(ACTION["inputs"])
    assert {name for name, each in ACTION["inputs"].items() if each.get("required")} <= set(ours["with"])


@pytest.mark.parametrize(("model", "code"), [("mine.int8.tflite", 0), ("lying one.tflite", 3)])
def test_the_job_for_gitlab(model: str, code: int, runner: Runner) -> None:
    job = GITLAB["irv2-drift"]
    variables = {**job["variables"], "MODEL": model, "OPTIONS": "--max-drop 5"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
        cwd=runner.workspace,
        env={**os.environ, **variables, "PATH": path},
        check=False,
    )
    assert done.returncode == code
    kept = [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]
    assert all((runner.workspace / name).exists() for name in kept)
    in_page = yaml.safe_load(re.findall(r"```yaml\n(include:.*?)```", GATE, re.DOTALL)[0])
    assert set(in_page["irv2-drift"]["variables"]) == set(job["variables"])
