"""A connection whose other end says nothing, with a stand-in for OpenSSH's client."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from convert.devices.ssh import Address, Connection, DeviceError

DEVICE = Address.parse("ssh://pi@raspberrypi:2222")


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `ssh` say one thing, and then nothing for a minute."""
    (tmp_path / "ssh").write_text("#!/bin/sh\necho '{\"said\": 1}'\nexec sleep 60\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_one_that_is_silent_for_too_long_is_given_up(silent: None) -> None:
    start = time.monotonic()
    with Connection(DEVICE, ["true"]) as connection:
        assert connection.receive(10) == {"said": 1}
        with pytest.raises(DeviceError, match="ssh://pi@raspberrypi:2222 is silent for too long: look what it does"):
            connection.receive(0.2)
    assert time.monotonic() - start < 30


def test_a_look_that_does_not_end_is_given_up(silent: None) -> None:
    with Connection(DEVICE, "look") as connection, pytest.raises(DeviceError, match="is silent for too long"):
        connection.lines(0.2)


def test_a_port_and_a_user_go_to_the_client_and_nothing_is_asked() -> None:
    command = DEVICE.command(["python3", "a file"])
    assert command[-4:] == ["pi", "--", "raspberrypi", "python3 'a file'"]
    assert command[command.index("-p") + 1] == "2222"
    assert "BatchMode=yes" in command
