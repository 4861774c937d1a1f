"""What a device says of its clock and temperature, before and after it worked."""

from __future__ import annotations

from typing import Any

THROTTLED = 0.9
"""A clock that has fallen below this part of what it was is said to be throttled."""


def is_throttled(before: dict[str, Any], after: dict[str, Any]) -> bool | None:
    """Return whether the clock has fallen, given two of the runtime's `device_state`; None where it does not tell."""
    clocks = before["clock_khz"], after["clock_khz"]
    return None if None in clocks else bool(clocks[1] < THROTTLED * clocks[0])
