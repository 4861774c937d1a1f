"""Progress bars for people, in terminals and notebooks; plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Self, TypeVar

from rich import progress
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from convert.system.progress import Progress, Silent
from edge_runtime.console import printable

T = TypeVar("T")
SECONDS_A_LINE = 30
"""How often a stage says how far it is where there are no bars."""


class TerminalProgress:
    """The pipeline's `Progress`, drawn on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._has_bars = _draws_bars(console)
        self._bars = progress.Progress(
            progress.SpinnerColumn(finished_text="[green]✓"),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=30),
            CountColumn(),
            RateColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            disable=not self._has_bars,
        )
        self._running: progress.TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()

    def stage(self, name: str) -> None:
        """Show a stage of unknown length; see `Progress`."""
        self._begin(name, None)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        """Yield `items` and show how many of `total` are done; see `Progress`."""
        task, start = self._begin(name, total), time.monotonic()
        said = start
        for done, item in enumerate(items, 1):
            yield item
            self._bars.advance(task)
            now = time.monotonic()
            if not self._has_bars and now - said >= SECONDS_A_LINE:
                self.note(f"{name}: {done} of {total}, {done / (now - start):.1f}/s")
                said = now

    def note(self, text: str) -> None:
        """Print a line that stays; see `Progress`."""
        self._console.print(escape(printable(text)), highlight=False, soft_wrap=True)

    def _begin(self, name: str, total: int | None) -> progress.TaskID:
        self._finish()
        if not self._has_bars:
            self._console.print(escape(name), highlight=False)
        self._running = self._bars.add_task(escape(name), total=total, counted=total is not None)
        return self._running

    def _finish(self) -> None:
        """End the stage that is running: one of unknown length is now done."""
        if self._running is None:
            return
        if not self._bars.tasks[self._running].fields["counted"]:
            self._bars.update(self._running, total=1, completed=1)
        self._bars.stop_task(self._running)


def shown_progress(quiet: bool) -> AbstractContextManager[Progress]:
    """Return what shows progress on standard error, or with `quiet` nothing."""
    return nullcontext(Silent()) if quiet else TerminalProgress(Console(stderr=True))


def _draws_bars(console: Console) -> bool:
    """Return whether bars can be drawn: on a terminal, or in a notebook that has the widgets for them."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.file.isatty()  # not `is_terminal`, which FORCE_COLOR makes true in the log of a CI


class CountColumn(progress.MofNCompleteColumn):
    """Column of how many of how many, where that is known."""

    def render(self, task: progress.Task) -> Text:
        """Return nothing for a stage of unknown length."""
        return super().render(task) if task.fields["counted"] else Text()


class RateColumn(progress.ProgressColumn):
    """Column of images per second."""

    def render(self, task: progress.Task) -> Text:
        """Return the rate of a task of known length."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed and task.fields["counted"] else "")
