"""irv2-benchmark --device: what it says of a device, and of several."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.artifact import open_artifact
from tests.devices.remote import BENCHMARK, start, until
from tests.devices.sshd import Server

pytestmark = [pytest.mark.slow, pytest.mark.device]


def test_a_device_says_what_this_machine_would(server: Server, network: Path) -> None:
    options = ("--device", server.address, "--threads", "1,2", "--runs", 20, "--json")
    running = start([*BENCHMARK, network, *options], [server])
    out, err = running.communicate(timeout=100)
    assert (running.returncode, err) == (0, "")
    report = json.loads(out)
    assert (report["model"], report["runs"]) == (str(network), 20)
    assert (report["device"]["address"], report["device"]["python"][:2]) == (server.address, "3.")
    assert [speed["receipt"]["threads"] for speed in report["inference"]] == [1, 2]
    for speed in report["inference"]:
        assert 0 < speed["p50_ms"] <= speed["p95_ms"] <= speed["p99_ms"]
        assert speed["receipt"]["active"] == "cpu"
    assert report["before"]["peak_memory_bytes"] <= report["after"]["peak_memory_bytes"]


def test_several_have_a_table_each_and_one_that_is_not_there_a_line(
    serve: Callable[[str], Server], network: Path, base: Path
) -> None:
    servers = [serve("first"), serve("second"), serve("third")]
    (servers[1].folder / "user.pub").write_text("")
    devices = [word for server in servers for word in ("--device", server.address)]
    running = start([*BENCHMARK, network, *devices, "--runs", 20, "--threads", 1], servers)
    out, err = running.communicate(timeout=100)
    assert running.returncode == 1
    titles = [line for line in out.splitlines() if line.startswith("ssh://")]
    assert [title.split(",")[0] for title in titles[:2]] == [servers[0].address, servers[2].address]
    assert len(re.findall(r"^threads +trial +load +first +p50 +p90 +p95 +p99 ", out, re.MULTILINE)) == 2
    assert re.search(r"^slowest: ssh://.*, p50 \d+\.\d ms$", out, re.MULTILINE)
    assert err.splitlines() == [
        f"irv2-benchmark: error: {servers[1].address}: it refuses the login: give it your key with `ssh-copy-id`, "
        "no password is asked for here"
    ]


def test_a_delegate_that_is_not_there_is_said_of_the_device(server: Server, network: Path) -> None:
    running = start([*BENCHMARK, network, "--device", server.address, "--runs", 2, "--delegate", "edgetpu"], [server])
    out, err = running.communicate(timeout=100)
    assert running.returncode == 0
    assert err.startswith("irv2-benchmark: warning: delegate edgetpu cannot be used: ")
    assert "on cpu" in out


def test_ctrl_c_leaves_nothing_running_there(server: Server, network: Path) -> None:
    running = start([*BENCHMARK, network, "--device", server.address, "--runs", 10**9], [server])
    until(lambda: any("/files/" in each and "-c" not in each.split() for each in server.sessions()))
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    until(lambda: not server.sessions())


def test_install_goes_with_a_device(server: Server, network: Path) -> None:
    running = start([*BENCHMARK, network, "--install"], [server])
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "--install goes with --device" in err


def test_no_such_model(server: Server, tmp_path: Path) -> None:
    running = start([*BENCHMARK, tmp_path / "none.tflite", "--device", server.address], [server])
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert err.startswith(f"irv2-benchmark: error: model {tmp_path}/none.tflite does not exist")


def test_a_model_without_a_card_is_described(server: Server, tmp_path: Path, network: Path) -> None:
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(network.read_bytes()[: open_artifact(network).flatbuffer_bytes])
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(open_artifact(network).labels))
    options = ("--preprocessing", "none", "--labels", labels, "--runs", 3, "--json")
    running = start([*BENCHMARK, bare, "--device", server.address, *options], [server])
    out, err = running.communicate(timeout=100)
    assert running.returncode == 0, err
    assert json.loads(out)["inference"][0]["p50_ms"] > 0
