"""`irv2-convert completion`, evaluated by the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convert.system.installation import install_command
from scripts.command_reference import ARGPARSE, CLICK
from tests.conftest import run_command
from tests.convert.cli.commands import run_here

COMMANDS = (*CLICK, *ARGPARSE)
TABS = [
    ("irv2-convert --calibra", {"--calibration", "--calibration-size", "--calibrator"}),
    ("irv2-convert ver", {"verify"}),
    ("irv2-convert --quantize int8,in", {"int8,int16x8"}),
    ("irv2-convert --preprocessing t", {"tf", "torch"}),
    ("irv2-convert --model d", {"demo"}),
    ("irv2-drift --fit keras", {"keras", "keras-crop", "keras-pad"}),
    ("irv2-drift --reference-s", {"--reference-sha256"}),
    ("irv2-inspect --require ", {"int8", "all-int8"}),
    ("irv2-predict --sha", {"--sha256"}),
    ("irv2-benchmark --engine ", {"auto", "litert", "tflite-runtime"}),
]
"""What is typed before Tab, and what Tab offers."""


def script(shell: str, folder: Path) -> Path:
    pytest.importorskip("shtab", reason="needs irv2-edge[completion]")
    done = run_command("irv2-convert", "completion", shell)
    assert (done.code, done.err) == (0, "")
    path = folder / f"completion.{shell}"
    path.write_text(done.out)
    return path


def run(folder: Path, *command: object) -> str:
    """Run a shell that finds the installed commands, and return what it prints."""
    environment = {**os.environ, "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("typed", "offered"), TABS)
def test_bash_offers(typed: str, offered: set[str], tmp_path: Path) -> None:
    command, _, rest = typed.partition(" ")
    word = rest.rpartition(" ")[2]
    words = [*typed.split(), *([""] if not word else [])]
    code = f"""
        eval "$(cat {script("bash", tmp_path)})"
        COMP_WORDS=({" ".join(repr(each) for each in words)}); COMP_CWORD={len(words) - 1}
        found=$(complete -p {command}); found=${{found#*-F }}
        "${{found%% *}}" {command} '{word}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert offered <= set(run(tmp_path, "bash", "--norc", "-c", code).split())


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(("typed", "offered"), TABS)
def test_fish_offers(typed: str, offered: set[str], tmp_path: Path) -> None:
    found = run(tmp_path, "fish", "-N", "-c", f"source {script('fish', tmp_path)}; complete -C '{typed}'")
    assert offered <= {line.split("\t")[0] for line in found.splitlines()}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_knows_every_command(tmp_path: Path) -> None:
    known = "; ".join(f"print {name} $_comps[{name}]" for name in COMMANDS)
    code = f'autoload -U compinit; compinit -u; eval "$(cat {script("zsh", tmp_path)})"; {known}'
    assert [len(line.split()) for line in run(tmp_path, "zsh", "-f", "-c", code).splitlines()] == [2] * len(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_every_script(shell: str, tmp_path: Path) -> None:
    text = script(shell, tmp_path).read_text()
    assert [name for name in COMMANDS if name not in text] == []
    assert "--sha256" in text, "those of a device are listed, with their options"


def test_without_shtab_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    done = run_here("irv2-convert", "completion", "bash")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"irv2-convert: error: shtab is not installed: {install_command('completion')}\n"


def test_another_shell_is_wrong_usage() -> None:
    assert run_here("irv2-convert", "completion", "tcsh").code == 2
