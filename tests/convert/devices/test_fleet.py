"""Devices that work side by side: an error of one is its own."""

from __future__ import annotations

import threading

import pytest

from convert.devices.fleet import Fleet, Tell
from convert.devices.ssh import DeviceError, Line

ADDRESSES = ("ssh://a", "ssh://b", "ssh://c")


def name(line: Line) -> str:
    return line.address.text


def test_all_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=10)
    with Fleet(ADDRESSES) as fleet:
        work = fleet.start(lambda line, tell: (meeting.wait(), name(line))[1])
        assert list(fleet.finish(work).values()) == list(ADDRESSES)


def failing(line: Line, tell: Tell) -> str:
    tell()
    if name(line) == "ssh://b":
        raise DeviceError("b is broken")
    tell()
    return name(line)


def test_one_that_fails_drops_out_and_is_not_asked_again() -> None:
    said: list[str] = []
    with Fleet(ADDRESSES, said.append) as fleet:
        work = fleet.start(failing)
        assert len(list(work.pieces())) == 5
        assert list(fleet.finish(work).values()) == ["ssh://a", "ssh://c"]
        assert [(name(line), error) for line, error in fleet.failures.items()] == [("ssh://b", "b is broken")]
        assert said == ["b is broken"]
        again = fleet.finish(fleet.start(lambda line, tell: name(line)))
        assert list(again.values()) == ["ssh://a", "ssh://c"]


def test_what_is_no_error_of_a_device_is_not_hidden() -> None:
    with Fleet(ADDRESSES) as fleet, pytest.raises(ZeroDivisionError):
        fleet.finish(fleet.start(lambda line, tell: 1 // 0))


def test_the_error_of_an_only_device_is_its_own() -> None:
    with Fleet(["ssh://b"]) as fleet, pytest.raises(DeviceError, match=r"^b is broken$"):
        fleet.finish(fleet.start(failing))


def test_where_none_is_left_each_has_said_why() -> None:
    def broken(line: Line, tell: Tell) -> None:
        raise DeviceError(f"{name(line)} is broken")

    said: list[str] = []
    with Fleet(ADDRESSES[:2], said.append) as fleet, pytest.raises(DeviceError, match="none of the 2 devices answers"):
        fleet.finish(fleet.start(broken))
    assert said == ["ssh://a is broken", "ssh://b is broken"]


def test_a_line_that_was_hung_up_connects_no_more() -> None:
    with Fleet(ADDRESSES) as fleet:
        pass
    with pytest.raises(DeviceError, match="ssh://a: interrupted"):
        fleet.lines[0].run(["true"])


def test_a_device_is_named_once() -> None:
    with pytest.raises(DeviceError, match="--device ssh://a is given twice"):
        Fleet(["ssh://a", "ssh://b", "ssh://a"])
