"""Delegates that take their process down, in C: they take down a child, and the CPU goes on here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipapp
from pathlib import Path

import pytest

from edge_runtime import Classifier, DelegateError, _proofs, isolation
from edge_runtime._cache_file import cache_path
from edge_runtime.preprocess import Pixels
from tests.edge_runtime.commands import ROOT, command_line, environment, heeding_ctrl_c, predict, run
from tests.edge_runtime.compiled_models import compiled_artifact
from tests.edge_runtime.refusals import every_engine
from tests.edge_runtime.tiny_model import UINT8, expected_probabilities, tiny_artifact

KILLED = "killed the process that tried it"
HARMFUL = {
    "aborts": rf"loading it {KILLED} \(SIGABRT\)",
    "crashes-in-prepare": rf"loading it {KILLED} \(SIGSEGV\)",
    "crashes-in-invoke": rf"its answer to the probe {KILLED} \(SIGSEGV\)",
    "exits": r"loading it ended the process that tried it \(exit code 0\)",
    "crashes-on-release": rf"letting go of it {KILLED} \(SIGABRT\)",
    "crashes-at-exit": rf"unloading it {KILLED} \(SIGABRT\)",
    "hangs": r"its answer to the probe takes more than 2 s \(IRV2_TRIAL_SECONDS\)",
    "eats-memory": r"its answer to the probe takes more than \d+ MB of memory",
}
"""Behaviour of the plugin -> the reason for which it is not used."""

every_harm = pytest.mark.parametrize("behaviour", HARMFUL)


@pytest.fixture(autouse=True)
def _impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a delegate that hangs two seconds."""
    if "hangs" in request.node.name:
        monkeypatch.setenv(isolation.LIMIT_VARIABLE, "2")


@every_engine
@every_harm
def test_the_cpu_goes_on_and_the_receipt_says_why(
    artifact_path: Path, plugin: Path, noise: Pixels, capfd: pytest.CaptureFixture[str], engine: str, behaviour: str
) -> None:
    request = f"{plugin}:behaviour={behaviour}"
    with (
        pytest.warns(RuntimeWarning, match="; the CPU is used instead$"),
        Classifier.open(artifact_path, engine=engine, delegate=request) as classifier,
    ):
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert re.fullmatch(f"delegate {re.escape(request)} cannot be used: {HARMFUL[behaviour]}", receipt.fallback or "")
    assert (receipt.active, receipt.trial, receipt.trial_ms) == ("cpu", None, None)
    assert capfd.readouterr() == ("", "")


@every_harm
def test_the_command_answers_or_strictly_fails_in_one_line(
    artifact_path: Path, plugin: Path, pictures: Path, behaviour: str
) -> None:
    options = ("--delegate", f"{plugin}:behaviour={behaviour}")
    done = predict(artifact_path, pictures / "blue.png", *options)
    assert done.stdout.splitlines()[1].split()[0] == "blue"
    assert re.fullmatch(rf"irv2-predict: warning: .*{HARMFUL[behaviour]}; the CPU is used instead\n", done.stderr)
    assert done.returncode == 0
    done = predict(artifact_path, pictures / "blue.png", *options, "--strict")
    assert re.fullmatch(rf"irv2-predict: error: delegate .* cannot be used: {HARMFUL[behaviour]}\n", done.stderr)
    assert (done.returncode, done.stdout) == (1, "")


@every_harm
def test_what_only_a_delegate_can_compute_is_one_clear_line(
    tmp_path: Path, plugin: Path, pictures: Path, behaviour: str
) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    done = predict(path, pictures / "blue.png", "--delegate", f"{plugin}:behaviour={behaviour}")
    assert re.fullmatch(rf"irv2-predict: error: delegate .* cannot be used: {HARMFUL[behaviour]}\n", done.stderr)
    assert (done.returncode, done.stdout) == (1, "")


def test_nothing_of_a_delegate_that_hangs_is_left_running(artifact_path: Path, plugin: Path) -> None:
    before = children_of(os.getpid())  # those of other tests
    with pytest.raises(DelegateError, match="takes more than 2 s"):
        Classifier.open(artifact_path, delegate=f"{plugin}:behaviour=hangs", strict=True)
    assert set(children_of(os.getpid())) <= set(before)


def test_ctrl_c_ends_a_trial_with_the_command(artifact_path: Path, plugin: Path, pictures: Path) -> None:
    line = command_line("edge_runtime", artifact_path, pictures / "red.png", "--delegate", f"{plugin}:behaviour=hangs")
    with heeding_ctrl_c():
        process = subprocess.Popen(line, env=environment() | {isolation.LIMIT_VARIABLE: "60"})
    deadline = time.monotonic() + 30
    while not (children := children_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert children
    assert not any(map(is_running, children))


def is_running(process: int) -> bool:
    """Return whether a process runs; one that has ended stays in /proc until its new parent asks how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(process: int) -> list[int]:
    """Return the children of a process, those of all its threads."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_time_is_refused_by_name(
    artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(isolation.LIMIT_VARIABLE, text)
    with pytest.raises(DelegateError, match=f"IRV2_TRIAL_SECONDS is '{text}': set it to a number of seconds"):
        Classifier.open(artifact_path, delegate=plugin, strict=True)


# What passed is remembered


def opened(artifact: Path, delegate: object, **how: object) -> str | None:
    """Return how a delegate came to be trusted."""
    with Classifier.open(artifact, delegate=str(delegate), strict=True, **how) as classifier:  # type: ignore[arg-type]
        assert classifier.receipt.trial_ms is not None
        return classifier.receipt.trial


def test_the_second_start_costs_nothing(artifact_path: Path, plugin: Path) -> None:
    with Classifier.open(artifact_path, delegate=plugin, strict=True) as classifier:
        first = classifier.receipt
    with Classifier.open(artifact_path, delegate=plugin, strict=True) as classifier:
        second = classifier.receipt
    assert (first.trial, second.trial) == ("passed", "remembered")
    assert first.trial_ms is not None
    assert second.trial_ms is not None
    assert first.trial_ms > 50
    assert second.trial_ms < 20


def test_what_failed_is_tried_again(artifact_path: Path, plugin: Path) -> None:
    request = f"{plugin}:behaviour=aborts"
    for _ in range(2):
        with pytest.raises(DelegateError, match="SIGABRT"):
            Classifier.open(artifact_path, delegate=request, strict=True)
    assert not cache_path(_proofs.NAME).exists()


def test_other_options_another_model_or_number_of_engines_are_tried_anew(
    artifact_path: Path, plugin: Path, tmp_path: Path
) -> None:
    other = tiny_artifact(UINT8).write(tmp_path / "other.tflite")
    assert opened(artifact_path, plugin) == "passed"
    assert opened(artifact_path, f"{plugin}:behaviour=claims-all") == "passed"
    assert opened(other, plugin) == "passed"
    assert opened(artifact_path, plugin, workers=2) == "passed"
    assert opened(artifact_path, plugin) == "remembered"


def test_another_library_or_driver_is_tried_anew(
    artifact_path: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "libmine.so"
    library.write_bytes(plugin.read_bytes())
    assert opened(artifact_path, library) == "passed"
    assert opened(artifact_path, library) == "remembered"
    (tmp_path / "newer").write_bytes(plugin.read_bytes() + b"\0")
    (tmp_path / "newer").replace(library)
    assert opened(artifact_path, library) == "passed"
    os.utime(library, (1, 1))  # as of a driver that the library loads: known by its size and time
    assert opened(artifact_path, library) == "passed"
    monkeypatch.setenv("VK_DRIVER_FILES", "/opt/other.json")
    assert opened(artifact_path, library) == "passed"


def test_the_libraries_are_those_that_were_loaded(artifact_path: Path, plugin: Path) -> None:
    opened(artifact_path, plugin)
    (proof,) = json.loads(cache_path(_proofs.NAME).read_text()).values()
    assert str(plugin) in proof["libraries"]
    assert any("ai_edge_litert" in name for name in proof["libraries"])


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"7", b'{"a": {"libraries": [7, null], "time": []}}'])
def test_a_damaged_file_proves_nothing_and_gives_way(artifact_path: Path, plugin: Path, content: bytes) -> None:
    cache_path(_proofs.NAME).parent.mkdir(parents=True)
    cache_path(_proofs.NAME).write_bytes(content)
    assert opened(artifact_path, plugin) == "passed"
    assert opened(artifact_path, plugin) == "remembered"


def test_a_folder_that_cannot_be_written_costs_a_trial_each_time(
    artifact_path: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [opened(artifact_path, plugin) for _ in range(2)] == ["passed", "passed"]


def test_the_file_does_not_grow_for_ever(artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_proofs, "MOST_PROOFS", 2)
    for key in ("first", "second", "third"):
        _proofs.keep(key, [str(plugin)])
    assert [_proofs.is_proven(key) for key in ("first", "second", "third")] == [False, True, True]


def test_the_benchmark_shows_what_a_trial_costs_and_auto_needs_no_other(
    artifact_path: Path, plugin: Path, pictures: Path
) -> None:
    options = ("--delegate", plugin, "--save", "--runs", 2)
    report = json.loads(run("edge_runtime.benchmark", artifact_path, *options, "--json").stdout)
    cpu, ours = (speed["receipt"] for speed in report["inference"])
    assert (cpu["trial"], cpu["trial_ms"]) == (None, None)
    assert ours["trial"] == "passed"
    assert ours["trial_ms"] > 50
    again = run("edge_runtime.benchmark", artifact_path, *options)
    rows = [line.split() for line in again.stdout.splitlines()]
    column = rows[1].index("trial")
    assert rows[2][column] == "-"
    assert float(rows[3][column]) < 20


# Where programs run


def test_in_an_archive_of_one_file(artifact_path: Path, plugin: Path, pictures: Path, tmp_path: Path) -> None:
    """Of the copied sources, so that nothing of this checkout is used."""
    archive = tmp_path / "runtime.pyz"
    folder = tmp_path / "sources" / "edge_runtime"
    for path in (ROOT / "edge_runtime").rglob("*.py"):
        target = folder / path.relative_to(ROOT / "edge_runtime")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    zipapp.create_archive(folder.parent, archive, main="edge_runtime.predict:main")
    line = [sys.executable, archive, artifact_path, pictures / "red.png", "--json", "--strict", "--delegate", plugin]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(line, capture_output=True, text=True, env=alone, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["receipt"]["trial"] == "passed"


def test_a_file_named_like_a_module_in_the_working_directory_is_not_run(
    artifact_path: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pickle", "json", "edge_runtime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working directory')")
    monkeypatch.chdir(tmp_path)
    assert opened(artifact_path, plugin) == "passed"


def test_a_daemon_with_closed_streams_and_children_that_nobody_waits_for(artifact_path: Path, plugin: Path) -> None:
    code = """if True:
        import os, signal, sys
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        out = os.dup(1)
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        from edge_runtime import Classifier
        with Classifier.open(sys.argv[1], delegate=sys.argv[2], strict=True) as classifier:
            os.write(out, classifier.receipt.trial.encode())
    """
    line = [sys.executable, "-c", code, str(artifact_path), str(plugin)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "passed"), done.stderr


def test_a_frozen_program_says_that_there_was_no_trial(
    artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert (opened(artifact_path, plugin) or "").startswith("impossible: there is no Python beside ")


def test_where_python_is_a_part_of_another_program_the_python_beside_it_is_taken(
    artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    assert (isolation.find_python() or "").startswith(os.path.join(sys.exec_prefix, "bin", "python3"))
    assert opened(artifact_path, plugin) == "passed"
