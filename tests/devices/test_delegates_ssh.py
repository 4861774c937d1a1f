"""Delegates of a device: tried there in a child process first, from the runtime in one file, and remembered there."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import save_colour_pictures
from tests.devices.remote import BENCHMARK, DRIFT, judged, start, started, until
from tests.devices.sshd import Server
from tests.edge_runtime.plugins import COMPILER, SOURCE, compile_library

pytestmark = [
    pytest.mark.slow,
    pytest.mark.device,
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler called cc to build plugin.c with"),
]
CHILD = "edge_runtime._isolated"


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(SOURCE, tmp_path_factory.mktemp("plugin"))


def test_a_delegate_passes_its_trial_and_is_remembered_on_the_device(
    server: Server, network: Path, images: Path, plugin: Path
) -> None:
    device = judged(server, network, images, "--delegate", plugin)["device"]
    assert (device["receipt"]["active"], device["receipt"]["trial"]) == (str(plugin), "passed")
    assert device["receipt"]["fallback"] is None
    assert device["startup_ms"]["model"] < device["receipt"]["trial_ms"]
    (proven,) = server.home.rglob("proven.json")
    assert len(json.loads(proven.read_text())) == 1
    assert judged(server, network, images, "--delegate", plugin)["device"]["receipt"]["trial"] == "remembered"


def test_one_that_crashes_takes_only_a_child_with_it(server: Server, network: Path, images: Path, plugin: Path) -> None:
    running = started(server, network, images, "--delegate", f"{plugin}:behaviour=crashes-in-invoke")
    out, err = running.communicate(timeout=200)
    assert running.returncode in (0, 4), err
    reason = r"its answer to the probe killed the process that tried it \(SIGSEGV\)"
    assert re.search(rf"^not as asked +delegate .* cannot be used: {reason}$", out, re.MULTILINE)
    assert "every answer is the same to the last bit" in out


def test_one_that_lies_after_100_runs_is_found_out(server: Server, network: Path, plugin: Path, tmp_path: Path) -> None:
    """What it answered before the check that found it is judged as it was."""
    images = save_colour_pictures(tmp_path / "images", 40, seed=3)
    device = judged(server, network, images, "--delegate", f"{plugin}:behaviour=lies-later")["device"]
    assert device["images"] == 120
    assert "differ" in device["receipt"]["fallback"]
    assert device["largest_difference"] > 0.01


def test_ctrl_c_ends_the_trial_of_one_that_hangs(server: Server, network: Path, images: Path, plugin: Path) -> None:
    running = started(server, network, images, "--delegate", f"{plugin}:behaviour=hangs")
    until(lambda: any(CHILD in command for command in server.sessions()))
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    until(lambda: not server.sessions(), seconds=10)


def test_a_delegate_is_timed_beside_the_cpu(server: Server, network: Path, plugin: Path) -> None:
    options = ("--delegate", "cpu", "--delegate", plugin, "--runs", 20, "--json")
    running = start([*BENCHMARK, network, "--device", server.address, *options], [server])
    out, err = running.communicate(timeout=100)
    assert (running.returncode, err) == (0, "")
    receipts = [speed["receipt"] for speed in json.loads(out)["inference"]]
    assert [receipt["active"] for receipt in receipts] == ["cpu", str(plugin)]
    assert [receipt["trial"] for receipt in receipts] == [None, "passed"]


def test_a_delegate_needs_a_device(server: Server, network: Path, images: Path) -> None:
    command = [*DRIFT, network, "--reference", network, "--images", images, "--delegate", "gpu"]
    running = start(command, [server])
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "--delegate goes with --device ssh://USER@HOST" in err
