"""Which device is said to be slow."""

from __future__ import annotations

from convert.devices.speed import slow_devices, speed_remarks


def test_one_that_takes_five_times_as_long_is_slow() -> None:
    assert slow_devices({"a": 10.0, "b": 12.0, "c": 55.0}) == {"c": 5.0}


def test_one_that_is_far_faster_makes_no_two_others_slow() -> None:
    assert slow_devices({"a": 1.0, "b": 10.0, "c": 10.0}) == {}


def test_the_slowest_is_always_named() -> None:
    assert speed_remarks({"a": 10.0, "b": 12.0}) == ["slowest: b, p50 12.0 ms"]
    assert speed_remarks({"a": 4.0, "b": 12.0}) == [
        "b takes 3.0 times as long as the others",
        "slowest: b, p50 12.0 ms",
    ]


def test_nothing_is_said_of_a_device_alone() -> None:
    assert speed_remarks({"a": 10.0}) == []
