"""Ctrl-C and SIGTERM as an exception, so that nothing is left behind, and its end as one line and an exit code.

Python's own answer to SIGTERM skips every `finally`; its KeyboardInterrupt is caught by libraries on the way.
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
    """A signal asks this process to end; `code` is the exit code by which a shell knows it: 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def interruptible(program: str) -> Iterator[None]:
    """Let a signal unwind the block as `Interrupted`, and end the process."""
    for number in SIGNALS:
        signal.signal(number, _raise)
    try:
        yield
    except Interrupted as interrupted:
        for number in SIGNALS:  # a second Ctrl-C would make a traceback of what is left to do
            signal.signal(number, signal.SIG_IGN)
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(interrupted.code)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)
