"""Commands with `--device`, as a user types them, and devices that misbehave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.devices.sshd import Server, environment_for
from tests.edge_runtime.commands import heeding_ctrl_c

COUNT = 60
"""Images that a device answers."""
DRIFT = (Path(sys.executable).with_name("irv2-drift"),)
BENCHMARK = (sys.executable, "-m", "convert.devices.benchmark")

CHANGED_ANSWERS = """
import json, sys, time
dumps, seen = json.dumps, []
def changed(value, **how):
    if "probabilities" in value:
        seen.append(1)
        {change}
    return dumps(value, **how)
json.dumps = changed
"""
"""A `sitecustomize` of a device whose answers are not those of its model."""

AS_AGENT = "import sys, json; v = json.load(sys.stdin); v['executable'] = '{}/agent'; print(json.dumps(v))"
"""Lets a device say that its Python is a script of ours."""


def start(command: Sequence[object], servers: Sequence[Server]) -> subprocess.Popen[str]:
    """Start a command on a host that knows these servers."""
    with heeding_ctrl_c():
        return subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment_for(servers), "COLUMNS": "200"},
        )


def judging(
    servers: Sequence[Server], network: Path, images: Path, *options: object, device: str | None = None
) -> subprocess.Popen[str]:
    """`irv2-drift --device`, on each of the servers."""
    addresses = [server.address for server in servers] if device is None else [device]
    devices = [word for address in addresses for word in ("--device", address)]
    return start([*DRIFT, network, "--reference", network, "--images", images, *devices, *options], servers)


def started(
    server: Server, network: Path, images: Path, *options: object, device: str | None = None
) -> subprocess.Popen[str]:
    """`irv2-drift --device` on one server."""
    return judging([server], network, images, *options, device=device)


def report_of(running: subprocess.Popen[str], seconds: float = 200) -> dict[str, Any]:
    """What a command prints with --json, in so many seconds at most."""
    out, err = running.communicate(timeout=seconds)
    assert out, err
    return dict(json.loads(out))


def judged(server: Server, network: Path, images: Path, *options: object) -> dict[str, Any]:
    """The report about one server."""
    return report_of(started(server, network, images, "--json", *options))


def refused(server: Server, network: Path, images: Path, *options: object) -> str:
    """The one line with which the command ends."""
    running = started(server, network, images, *options)
    out, err = running.communicate(timeout=200)
    assert (running.returncode, out) == (1, "")
    line = err.splitlines()[-1]
    assert line.startswith("irv2-drift: error: ssh://")
    return line


def files_there(server: Server) -> Path:
    """The folder in which a device keeps what it was given."""
    return server.home / ".cache" / "irv2-edge" / "files"


def offer_agent(server: Server, base: Path, script: str) -> None:
    """Let the device run a script of ours as its Python, but for the look at it."""
    server.offer("agent", script)
    server.offer("python3", f'{base} "$@" | {base} -c "{AS_AGENT.format(server.programs)}"')


def answering(server: Server, base: Path, change: str) -> None:
    """Let the device's answers be changed."""
    folder = server.folder / "changed"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CHANGED_ANSWERS.format(change=change))
    offer_agent(server, base, f'PYTHONPATH={folder} exec {base} "$@"')


def until(true: Any, seconds: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
