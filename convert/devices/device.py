"""A device that answers images: look at it, give it what it lacks, ask; go on where a connection broke."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from convert.devices.archive import runtime_archive
from convert.devices.ssh import Address, Connection, ConnectionLostError, DeviceError
from edge_runtime.hashing import file_sha256

PYTHONS = ("python3", "python3.13", "python3.12", "python3.11")
OLDEST_PYTHON = [3, 11]
INTERPRETERS = ("ai_edge_litert", "tflite_runtime")
MOST_FAILURES, PAUSE_S = 5, 1.0
"""Broken connections in a row, without anything gained, after which a device is given up; seconds between them."""
SPARE_BYTES = 10_000_000
CHUNK = 2**18
Result = TypeVar("Result")


@dataclass
class Device:
    """A device, and what it said of itself; `connections` counts those that its answers took."""

    address: Address
    facts: dict[str, Any]
    connections: int = 0
    opened: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)

    def place(self, sha256: str) -> str:
        """Return the path of a file on the device."""
        return f"{self.facts['home']}/files/{sha256}"

    def deliver(self, files: Mapping[str, Path | bytes]) -> int:
        """Copy files, SHA-256 -> content, that are not there; return how many bytes were sent.

        Raises:
            DeviceError: there is no space, or a file arrived damaged twice.
        """
        waiting, sent = dict(files), [0]

        def go_on() -> None:
            receiver = [self.facts["executable"], "-c", _script("receive"), f"{self.facts['home']}/files"]
            with Connection(self.address, receiver) as connection:
                for sha256 in list(waiting):
                    if not self._copied(connection, sha256, waiting[sha256], sent):
                        again = self._copied(connection, sha256, waiting[sha256], sent)
                        if not again:
                            raise DeviceError(
                                f"{self.address.text}: {sha256[:12]} arrived damaged twice: check the line"
                            )
                    del waiting[sha256]

        _until_done(go_on, lambda: (len(waiting), sent[0]))
        return sent[0]

    def answers(self, model: dict[str, Any], images: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the device's answer to each image, given by its SHA-256, in their order.

        `model` is what the agent is told with "open". A device that fails is a `DeviceError`.
        """
        runtime = hashlib.sha256(runtime_archive()).hexdigest()
        left, failures = list(images), 0
        while left:
            before = len(left)
            try:
                with Connection(self.address, [self.facts["executable"], self.place(runtime)]) as connection:
                    self.connections += 1
                    connection.send({"do": "open", **model})
                    self.opened = self._answer(connection)["opened"] if not self.opened else self._reopened(connection)
                    connection.send(b"".join(self._job(sha256) for sha256 in left) + b'{"do": "end"}\n')
                    while left:
                        answer = self._answer(connection)
                        if answer.get("image") != left[0]:
                            raise DeviceError(f"{self.address.text} answered another image than it was asked for")
                        left.pop(0)
                        yield answer
                    self.ended = self._answer(connection)["ended"]
            except ConnectionLostError:
                failures = 1 if len(left) < before else failures + 1
                if not left or failures >= MOST_FAILURES:
                    raise
                time.sleep(PAUSE_S)

    def _reopened(self, connection: Connection) -> dict[str, Any]:
        self._answer(connection)
        return self.opened

    def _job(self, sha256: str) -> bytes:
        return json.dumps({"do": "image", "path": self.place(sha256), "sha256": sha256}).encode() + b"\n"

    def _answer(self, connection: Connection) -> dict[str, Any]:
        answer = connection.receive()
        if "error" in answer:
            raise DeviceError(f"{self.address.text}: {answer['error']}")
        return answer

    def _copied(self, connection: Connection, sha256: str, content: Path | bytes, sent: list[int]) -> bool:
        """Copy one file and return whether it arrived whole."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        connection.send({"sha256": sha256, "bytes": len(data)})
        answer = self._answer(connection)
        if answer["have"] == len(data):
            return True
        for start in range(answer["have"], len(data), CHUNK):
            block = data[start : start + CHUNK]
            connection.send(block)
            sent[0] += len(block)
        return "stored" in self._answer(connection)


def look_at(address: Address) -> Device:
    """Return a device that has what the runtime needs; a `DeviceError` names what is missing and how to get it."""
    each = " ".join(PYTHONS)
    line = f'for p in {each}; do command -v "$p" >/dev/null 2>&1 && "$p" -'
    with Connection(address, f"{line} <<'EOF'\n{_script('look')}\nEOF\ndone; true") as connection:
        found = [json.loads(line) for line in connection.lines() if line.startswith(b"{")]
    if not found:
        raise DeviceError(f"{address.text} has no Python: install python3, 3.11 or later, there")
    recent = [facts for facts in found if facts["python"] >= OLDEST_PYTHON]
    if not recent:
        version = ".".join(map(str, found[0]["python"]))
        raise DeviceError(f"{address.text} has Python {version}, 3.11 or later is needed: install python3.11 there")
    facts = min(recent, key=lambda facts: len(_missing(facts)))
    if missing := _missing(facts):
        raise DeviceError(
            f"{address.text} has no {' and no '.join(missing)}: run there {facts['executable']} -m pip install "
            f"{' '.join(missing)}"
        )
    return Device(address, facts)


def _missing(facts: dict[str, Any]) -> list[str]:
    """Return the packages, as pip calls them, that a Python lacks."""
    there = facts["packages"]
    found = [pip for name, pip in (("numpy", "numpy"), ("PIL", "pillow")) if name not in there]
    return found if any(name in there for name in INTERPRETERS) else [*found, "ai-edge-litert"]


def prepare(device: Device, model: Path, images: Sequence[Path]) -> tuple[str, list[str]]:
    """Copy runtime, model and images; return the SHA-256 of the model and of each image."""
    runtime = runtime_archive()
    files: dict[str, Path | bytes] = {hashlib.sha256(runtime).hexdigest(): runtime}
    sha256, hashes = file_sha256(model), [file_sha256(path) for path in images]
    files |= {sha256: model, **dict(zip(hashes, images, strict=True))}
    if device.facts["free_bytes"] < SPARE_BYTES:
        raise DeviceError(f"{device.address.text} has {device.facts['free_bytes']:,} bytes free: make space there")
    device.deliver(files)
    return sha256, hashes


def _script(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text("utf-8")


def _until_done(go_on: Callable[[], None], state: Callable[[], object]) -> None:
    """Call `go_on` again after a broken connection, until nothing is gained by it any more."""
    failures = 0
    while True:
        before = state()
        try:
            return go_on()
        except ConnectionLostError:
            failures = 1 if state() != before else failures + 1
            if failures >= MOST_FAILURES:
                raise
            time.sleep(PAUSE_S)
