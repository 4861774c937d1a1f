"""Progress bars for people; plain lines if standard error is not a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from rich import progress
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from edge_runtime.console import printable

T = TypeVar("T")


class TerminalProgress:
    """The pipeline's `Progress`, drawn on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=30),
            progress.MofNCompleteColumn(),
            RateColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._running: progress.TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def stage(self, name: str) -> None:
        """Show a stage of unknown length; see `Progress`."""
        self._begin(name, None)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        """Yield `items` and show how many of `total` are done; see `Progress`."""
        task = self._begin(name, total)
        for item in items:
            yield item
            self._bars.advance(task)

    def note(self, text: str) -> None:
        """Print a line that stays; see `Progress`."""
        self._console.print(escape(printable(text)), highlight=False, soft_wrap=True)

    def _begin(self, name: str, total: int | None) -> progress.TaskID:
        if self._running is not None:
            self._bars.stop_task(self._running)
        if not self._console.is_terminal:
            self._console.print(escape(name), highlight=False)
        self._running = self._bars.add_task(escape(name), total=total)
        return self._running


class RateColumn(progress.ProgressColumn):
    """Column of images per second."""

    def render(self, task: progress.Task) -> Text:
        """Return the rate of a task of known length."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed and task.total else "")
