"""Ctrl-C and SIGTERM as an exception, so that cleanup runs, and then as one line and an exit code.

By default SIGTERM ends Python without running any `finally`, and libraries catch KeyboardInterrupt.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal that asks this process to end; `code` is the exit code that shells use for it: 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def interruptible(program: str) -> Iterator[None]:
    """Raise `Interrupted` in the block when a signal comes, and then end the process with one line."""
    for number in SIGNALS:
        signal.signal(number, _raise)
    try:
        yield
    except Interrupted as interrupted:
        for number in SIGNALS:  # a second Ctrl-C during shutdown would print a traceback
            signal.signal(number, signal.SIG_IGN)
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(interrupted.code)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)
