"""Progress bars for people; plain lines where standard error is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edge_runtime.terminal import printable


class TerminalProgress:
    """The pipeline's `Progress`, drawn on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: tuple[str, int] | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str) -> None:
        """A stage of unknown length begins."""
        self._begin(name, None)

    def count(self, name: str, done: int, total: int) -> None:
        """`done` of `total` images of the stage `name` are done."""
        if self._task is None or self._task[0] != name:
            self._begin(name, total)
        assert self._task is not None
        self._bars.update(self._task[1], completed=done)  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(escape(printable(text)), highlight=False, soft_wrap=True)

    def _begin(self, name: str, total: int | None) -> None:
        if self._task is not None:
            self._bars.stop_task(self._task[1])  # type: ignore[arg-type]
        if not self._console.is_terminal:
            self._console.print(escape(name), highlight=False)
        self._task = (name, self._bars.add_task(escape(name), total=total))


class RateColumn(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed and task.total else "")
