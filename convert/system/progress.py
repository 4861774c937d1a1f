"""What the slow stages tell whoever waits for them."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told what happens."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def count(self, name: str, done: int, total: int) -> None:
        """`done` of `total` steps of the stage `name` are done."""

    def note(self, text: str) -> None:
        """Something worth knowing."""
