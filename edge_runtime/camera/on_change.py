"""Runs a command when the label changes, beside the frames and not between them."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

FINISHING_S = 2.0
"""How long the end waits for a command that still runs, before it is terminated, and then killed."""


def command(text: str) -> list[str]:
    """Parse an argparse value: words as a shell splits them, the first a program; nothing is expanded."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be split into words: {error}") from error
    if not words or shutil.which(words[0]) is None:
        program = words[0] if words else ""
        advice = "pass a program and its arguments; for pipes and variables, sh -c '...'"
        raise argparse.ArgumentTypeError(f"{text!r}: there is no program {program!r}: {advice}")
    return words


class OnChange:
    """Runs a command with IRV2_LABEL and IRV2_PROBABILITY, one at a time, in a thread of its own.

    Of the changes that come while it runs, the last is next. What it prints goes to stderr.

    Args:
        words: the program and its arguments.
        note: is told of commands that fail.
    """

    def __init__(self, words: list[str], note: Callable[[str], object]) -> None:
        self._words, self._note = words, note
        self._waiting: deque[tuple[str, str] | None] = deque(maxlen=1)
        self._arrived = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="irv2-on-change", daemon=True)
        self._thread.start()

    def run(self, label: str, probability: str) -> None:
        """Ask for a run, and return at once."""
        self._put((label, probability))

    def close(self) -> None:
        """Start no more; give a command that runs 2 s, then end it."""
        self._put(None)
        self._thread.join(FINISHING_S)
        self._closing = True
        for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
            process = self._process
            if self._thread.is_alive() and process is not None:
                end(process)
                self._thread.join(FINISHING_S)

    def _put(self, change: tuple[str, str] | None) -> None:
        with self._arrived:
            self._waiting.append(change)
            self._arrived.notify()

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting)
                change = self._waiting.popleft()
            if change is None:
                return
            self._run(*change)

    def _run(self, label: str, probability: str) -> None:
        environment = {**os.environ, "IRV2_LABEL": label, "IRV2_PROBABILITY": probability}
        stderr = _descriptor_of_stderr()
        try:
            self._process = subprocess.Popen(
                self._words, env=environment, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
            )
        except (OSError, ValueError) as error:  # ValueError: a label with a null character
            self._note(f"warning: --on-change {shlex.join(self._words)} cannot be run: {error}")
            return
        code = self._process.wait()
        if code and not self._closing:
            self._note(f"warning: --on-change {shlex.join(self._words)} ended with exit code {code} for {label!r}")


def _descriptor_of_stderr() -> int:
    """Return what a child can write to; where our stderr is no file, nothing is shown."""
    with suppress(OSError, ValueError, AttributeError):
        return sys.stderr.fileno()
    return subprocess.DEVNULL
