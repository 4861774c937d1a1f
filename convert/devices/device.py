"""A device that answers images: give it what it lacks, ask; go on where a connection broke."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.devices.archive import runtime_archive
from convert.devices.scripts import script
from convert.devices.ssh import Connection, ConnectionLostError, DeviceError, Line
from edge_runtime.hashing import file_sha256

MOST_FAILURES, PAUSE_S = 5, 1.0
"""Broken connections in a row, without anything gained, after which a device is given up; seconds between them."""
SPARE_BYTES = 10_000_000
"""Space that copying leaves free there, for what the runtime itself keeps."""
LONGEST_SILENCE_S = 600.0
"""Seconds after which a device that answers nothing is given up; the trial of a delegate alone may take 180."""
CHUNK = 2**18
Files = Mapping[str, Path | bytes]
"""SHA-256 -> content."""


@dataclass
class Device:
    """A device, and what it said of itself; `connections` counts those that its answers took."""

    line: Line
    facts: dict[str, Any]
    connections: int = 0
    opened: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return its address, as the user gave it."""
        return self.line.address.text

    @property
    def folder(self) -> str:
        """Return the path of the folder there that keeps files."""
        return f"{self.facts['home']}/files"

    def place(self, sha256: str) -> str:
        """Return the path of a file there."""
        return f"{self.folder}/{sha256}"

    def deliver(self, files: Files) -> int:
        """Copy files that are not there; return how many bytes were sent.

        Raises:
            DeviceError: there is not enough space, or a file arrived damaged twice.
        """
        waiting, sent = dict(files), [0]

        def go_on() -> None:
            with self.line.run([self.facts["executable"], "-c", script("receive"), self.folder]) as connection:
                self._check_space(connection, waiting)
                for sha256 in list(waiting):
                    copies = (self._copied(connection, sha256, waiting[sha256], sent) for _ in range(2))
                    if not any(copies):
                        raise DeviceError(f"{self.name}: {sha256[:12]} arrived damaged twice: check the line")
                    del waiting[sha256]

        _until_done(go_on, lambda: (len(waiting), sent[0]))
        return sent[0]

    def answers(self, model: dict[str, Any], images: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the device's answer to each image, given by its SHA-256, in their order.

        `model` is what the agent is told with "open". A device that fails is a `DeviceError`.
        """
        left, failures = list(images), 0
        while not self.ended:
            before = len(left)
            try:
                with self.agent() as connection:
                    self.connections += 1
                    connection.send({"do": "open", **model})
                    opened = connection.receive(LONGEST_SILENCE_S)["opened"]
                    self.opened = self.opened or opened
                    connection.send(b"".join(self._job(sha256) for sha256 in left) + b'{"do": "end"}\n')
                    while left:
                        answer = connection.receive(LONGEST_SILENCE_S)
                        if answer.get("image") != left[0]:
                            raise DeviceError(f"{self.name} answered another image than it was asked for: run it again")
                        left.pop(0)
                        yield answer
                    self.ended = connection.receive(LONGEST_SILENCE_S)["ended"]
            except ConnectionLostError:
                failures = 1 if len(left) < before else failures + 1
                if failures >= MOST_FAILURES:
                    raise
                time.sleep(PAUSE_S)

    def benchmark(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the device's report of how fast a model is; `job` is what the agent is told with "benchmark"."""
        found: list[dict[str, Any]] = []

        def go_on() -> None:
            with self.agent() as connection:
                connection.send({"do": "benchmark", **job})
                found.append(dict(connection.receive()["benchmark"]))

        _until_done(go_on, lambda: len(found))
        return found[0]

    def agent(self) -> Connection:
        """Connect to the runtime there, which was delivered before."""
        runtime = hashlib.sha256(runtime_archive()).hexdigest()
        return self.line.run([self.facts["executable"], self.place(runtime)])

    def _job(self, sha256: str) -> bytes:
        return json.dumps({"do": "image", "path": self.place(sha256), "sha256": sha256}).encode() + b"\n"

    def _check_space(self, connection: Connection, files: Files) -> None:
        connection.send({"files": {sha256: _size(content) for sha256, content in files.items()}})
        space = connection.receive()
        needed = space["missing_bytes"] + SPARE_BYTES
        if space["missing_bytes"] and space["free_bytes"] < needed:
            raise DeviceError(
                f"{self.name} has {space['free_bytes']:,} bytes free of the {needed:,} that are needed: make space "
                f"there, {self.folder} has what earlier runs copied"
            )

    def _copied(self, connection: Connection, sha256: str, content: Path | bytes, sent: list[int]) -> bool:
        """Copy one file and return whether it arrived whole."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        connection.send({"sha256": sha256, "bytes": len(data)})
        answer = connection.receive()
        if answer["have"] == len(data):
            return True
        for start in range(answer["have"], len(data), CHUNK):
            block = data[start : start + CHUNK]
            connection.send(block)
            sent[0] += len(block)
        return "stored" in connection.receive()


def prepare(device: Device, model: Path, images: Sequence[Path] = ()) -> tuple[str, list[str]]:
    """Copy runtime, model and images; return the SHA-256 of the model and of each image."""
    runtime = runtime_archive()
    files: dict[str, Path | bytes] = {hashlib.sha256(runtime).hexdigest(): runtime}
    sha256, hashes = file_sha256(model), [file_sha256(path) for path in images]
    files |= {sha256: model, **dict(zip(hashes, images, strict=True))}
    device.deliver(files)
    return sha256, hashes


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


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
