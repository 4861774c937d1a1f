"""A terminal's width is kept, and a log's lines are not broken."""

from __future__ import annotations

import pytest

from convert.cli.console import LOG_COLUMNS, standard_output


@pytest.mark.parametrize(
    ("is_terminal", "columns", "width"), [(False, None, LOG_COLUMNS), (False, "100", 100), (True, "100", 100)]
)
def test_only_a_log_of_unknown_width_is_wide(
    is_terminal: bool, columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert standard_output().width == width
