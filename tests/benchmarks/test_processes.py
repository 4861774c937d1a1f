"""Time and memory of processes of known size and duration."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

MB = 1_000_000
INTERPRETER = 40 * MB
"""More than a bare Python takes."""
HOLD = "held = bytearray(b'x') * {size}; import time; time.sleep(1.5)"

WITH_A_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HOLD.format(size=100 * MB)!r}])
held = bytearray(b"x") * {150 * MB}
child.wait()
"""
WITH_AN_ORPHAN = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {HOLD.format(size=150 * MB)!r}])
"""
WITH_A_TWIN = f"""
import os, time
held = bytearray(b"x") * {150 * MB}
twin = os.fork()
time.sleep(1.5)
if twin:
    os.wait()
"""


@pytest.fixture
def processes(benchmarks: Path) -> ModuleType:
    return import_module("processes")


@pytest.mark.parametrize(
    ("code", "held"),
    [
        pytest.param(HOLD.format(size=200 * MB), 200 * MB, id="alone"),
        pytest.param(WITH_A_CHILD, 250 * MB, id="a child counts"),
        pytest.param(WITH_AN_ORPHAN, 150 * MB, id="a child counts when its parent has ended"),
        pytest.param(WITH_A_TWIN, 150 * MB, id="what two share counts once"),
    ],
)
def test_peak_memory_is_what_the_tree_holds(processes: ModuleType, code: str, held: int) -> None:
    usage = processes.measure([sys.executable, "-c", code], interval_s=0.02)
    assert usage.code == 0, usage.err
    assert held < usage.peak_bytes < held + 2 * INTERPRETER


def test_memory_that_was_given_back_was_the_peak(processes: ModuleType) -> None:
    code = f"{HOLD.format(size=150 * MB)}; del held; time.sleep(0.5)"
    assert processes.measure([sys.executable, "-c", code], interval_s=0.02).peak_bytes > 150 * MB


def test_a_short_peak_is_seen_when_time_and_memory_are_measured_apart(processes: ModuleType, tmp_path: Path) -> None:
    """The first of two runs is timed, the second is looked at."""
    log = tmp_path / "log"
    code = f"open({str(log)!r}, 'a').write('x'); import time; held = bytearray(b'x') * {150 * MB}; time.sleep(0.05)"
    usage = processes.measure_apart([sys.executable, "-c", code])
    assert 150 * MB < usage.peak_bytes < 150 * MB + INTERPRETER
    assert log.read_text() == "xx"


def test_what_a_command_says_and_how_long_it_takes(processes: ModuleType) -> None:
    code = "import os, sys, time; time.sleep(0.5); print(os.environ['WORD']); print('no', file=sys.stderr); sys.exit(3)"
    usage = processes.measure([sys.executable, "-c", code], {"WORD": "yes"})
    assert (usage.code, usage.out, usage.err) == (3, "yes\n", "no\n")
    assert 0.5 < usage.seconds < 5


def test_a_command_that_does_not_end_is_ended_with_its_children(processes: ModuleType, tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(noted)!r}, 'w').write(str(child.pid)); child.wait()"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        processes.measure([sys.executable, "-c", code], timeout_s=2)
    child, end = Path("/proc") / noted.read_text() / "stat", time.monotonic() + 10
    while child.exists() and " Z " not in child.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert not child.exists() or " Z " in child.read_text()


def test_a_process_that_has_ended_holds_nothing(processes: ModuleType) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert processes.pss_bytes(ended.pid) == 0
