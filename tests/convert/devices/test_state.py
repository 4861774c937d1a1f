"""Whether a device is said to be throttled."""

from __future__ import annotations

import pytest

from convert.devices.state import is_throttled


@pytest.mark.parametrize(
    ("before", "after", "throttled"), [(1500, 1499, False), (1500, 600, True), (None, 600, None), (600, 1500, False)]
)
def test_a_clock_that_has_fallen(before: int | None, after: int | None, throttled: bool | None) -> None:
    assert is_throttled({"clock_khz": before}, {"clock_khz": after}) is throttled
