"""Progress in a terminal and in the log of a CI."""

from __future__ import annotations

import io
import os
import pty
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from rich.console import Console

from convert.cli import progress
from convert.cli.progress import TerminalProgress, shown_progress


def run_stage(console: Console) -> None:
    with TerminalProgress(console) as shown:
        shown.stage("loading")
        assert list(shown.track(iter("abc"), "counting", 3)) == ["a", "b", "c"]
        shown.note("a note")


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}, {"NO_COLOR": "1"}])
def test_a_log_has_plain_lines(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """CIs set FORCE_COLOR for colours, not for bars that overwrite themselves."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = io.StringIO()
    run_stage(Console(file=text))
    assert text.getvalue() == "loading\ncounting\na note\n"


def test_a_long_stage_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 0)
    text = io.StringIO()
    run_stage(Console(file=text))
    lines = text.getvalue().splitlines()
    assert [line.split(", ")[0] for line in lines] == [
        "loading",
        "counting",
        *(f"counting: {i} of 3" for i in (1, 2, 3)),
        "a note",
    ]
    assert all(line.endswith("/s") for line in lines[2:5])


def chunks(terminal: int) -> Iterator[str]:
    """What was written to a terminal that is closed now."""
    with suppress(OSError):
        while chunk := os.read(terminal, 100_000):
            yield chunk.decode(errors="replace")


def test_a_terminal_has_bars() -> None:
    main, child = pty.openpty()
    with os.fdopen(child, "w") as terminal:
        run_stage(Console(file=terminal, width=120))
    drawn = "".join(chunks(main))
    os.close(main)
    assert "\x1b[" in drawn
    assert "━" in drawn
    assert "3/3" in drawn
    last_frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.rpartition("\x1b[1A")[2])
    assert [line.split()[:2] for line in last_frame.splitlines()] == [["✓", "loading"], ["✓", "counting"]]
    assert "0/?" not in drawn


def test_quiet_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with shown_progress(quiet=True) as shown:
        shown.stage("loading")
        shown.note("a note")
        assert list(shown.track([1], "counting", 1)) == [1]
    assert capfd.readouterr() == ("", "")
