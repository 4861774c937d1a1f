"""A device behind the host's own OpenSSH client, which reads the user's `~/.ssh/config`."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from convert.errors import ConvertError

PREFIX = "ssh://"
OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10", "ServerAliveCountMax=3")
"""Nobody is asked for anything, and a silent line is given up after 30 s."""
CONNECTION_FAILED = 255
BROKEN = "the connection breaks: see to the device and its network, and run it again"
ADVICE = {
    "Host key verification failed": "its host key is not known here: run `ssh` to it once and compare the key",
    "Permission denied": "it refuses the login: give it your key with `ssh-copy-id`, no password is asked for here",
}
"""What OpenSSH says -> what it means."""


class DeviceError(ConvertError):
    """A device cannot be reached, lacks something, or cannot do what it was asked."""


class ConnectionLostError(DeviceError):
    """The connection to a device failed or broke."""


@dataclass(frozen=True)
class Address:
    """Where a device is: `ssh://[USER@]HOST[:PORT]`; HOST may be a name in `~/.ssh/config`."""

    text: str

    def command(self, remote: Sequence[str] | str) -> list[str]:
        """Return the local command that runs `remote` there: words, or a line for its shell."""
        parts = urlsplit(self.text)
        options = [word for option in OPTIONS for word in ("-o", option)]
        port = [] if parts.port is None else ["-p", str(parts.port)]
        user = [] if parts.username is None else ["-l", parts.username]
        line = remote if isinstance(remote, str) else shlex.join(remote)
        return ["ssh", "-T", *options, *port, *user, "--", str(parts.hostname), line]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address; a `DeviceError` says what is wrong with it."""
        try:
            parts = urlsplit(text)
            valid = text.startswith(PREFIX) and parts.hostname and parts.port != 0 and parts.path in ("", "/")
        except ValueError:
            valid = False
        if not valid or parts.hostname is None or parts.hostname.startswith("-"):
            raise DeviceError(f"--device {text!r} is no address: pass ssh://USER@HOST or ssh://USER@HOST:PORT")
        return cls(text)


class Connection:
    """A program running on a device: lines to it and from it; it is ended with the block."""

    def __init__(self, address: Address, remote: Sequence[str] | str) -> None:
        self.address, self._silent = address, False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would stop the program
        try:
            self._process = subprocess.Popen(
                address.command(remote), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
            )
        except FileNotFoundError as error:
            raise DeviceError("ssh is not installed here: install the OpenSSH client") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except BrokenPipeError:
                pass
        self._said.close()

    def cut(self) -> None:
        """End the connection, from any thread; the program there ends with it."""
        self._process.kill()

    def _give_up(self) -> None:
        self._silent = True
        self.cut()

    def send(self, data: bytes | dict[str, Any]) -> None:
        """Send bytes, or one JSON line; after a broken pipe `receive` says what happened."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Return the next JSON line; without one, or if it tells of an error, a `DeviceError` says why.

        With `seconds` the connection is ended if it does not come in that time.
        """
        assert self._process.stdout is not None
        with _alarm(seconds, self._give_up):
            line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._failure()
        try:
            answer = dict(json.loads(line))
        except ValueError as error:
            raise DeviceError(
                f"{self.address.text} says {line[:80]!r}: its shell must print nothing at login"
            ) from error
        if "error" in answer:
            raise DeviceError(f"{self.address.text}: {answer['error']}")
        return answer

    def lines(self, seconds: float) -> list[bytes]:
        """Return all lines until the program ends; a connection that failed is a `ConnectionLostError`.

        It is given so many seconds.
        """
        with _alarm(seconds, self._give_up):
            found, _ = self._process.communicate()
        if self._silent or self._process.returncode == CONNECTION_FAILED:
            raise self._failure()
        return list(found.splitlines())

    def _failure(self) -> DeviceError:
        code = self._process.wait()
        if self._silent:
            return DeviceError(f"{self.address.text} is silent for too long: look what it does, and start it again")
        self._said.seek(0)
        silence = BROKEN if code == CONNECTION_FAILED else f"what ran there ended with exit code {code}: see its log"
        said = self._said.read().decode(errors="replace").strip().splitlines() or [silence]
        known = (advice for pattern, advice in ADVICE.items() if any(pattern in line for line in said))
        text = f"{self.address.text}: {next(known, said[-1])}"
        return ConnectionLostError(text) if code == CONNECTION_FAILED else DeviceError(text)


@contextmanager
def _alarm(seconds: float | None, ring: Callable[[], object]) -> Iterator[None]:
    """Call `ring` in a thread of its own if the block takes longer; it may take any time if `seconds` is None."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Line:
    """The way to one device: one connection at a time, until any thread hangs up."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._hung_up = False

    def run(self, remote: Sequence[str] | str) -> Connection:
        """Run a program there, words or a line for its shell; a `DeviceError` after `hang_up`."""
        with self._lock:
            if self._hung_up:
                raise DeviceError(f"{self.address.text}: interrupted")
            self._connection = Connection(self.address, remote)
            return self._connection

    def hang_up(self) -> None:
        """End the connection, and allow no other."""
        with self._lock:
            self._hung_up = True
            if self._connection is not None:
                self._connection.cut()
