"""Where commands print their results: at a terminal's width, and into a log without breaking lines."""

from __future__ import annotations

import os
import sys

from rich.console import Console

LOG_COLUMNS = 200
"""Wider than any line of ours: logs are searched line by line, and nobody says how wide they are."""


def standard_output() -> Console:
    """Return a console on standard output; `COLUMNS` in the environment sets its width, as everywhere."""
    is_log = "COLUMNS" not in os.environ and not sys.stdout.isatty()
    return Console(width=LOG_COLUMNS if is_log else None)
