"""Reports as notebooks show them: Jupyter asks an object for its `_repr_html_`."""

from __future__ import annotations

import html
from pathlib import Path

from convert.drift.run import DriftRun
from convert.reporting import html as page

HEIGHT = 720
"""Of the frame, in pixels; the page scrolls in it."""


class NotebookRun(DriftRun):
    """A `DriftRun` that shows itself."""

    def _repr_html_(self) -> str:
        """Return the report's page in a frame; its images as far as they are still there."""
        comparison = self.assessment.comparison
        still_there = all(Path(flip["image"]).exists() for flip in self.report["drift"]["flips"])
        return framed(page.render(self.report, comparison, thumbnails=still_there))


def framed(document: str) -> str:
    """Return a page in a frame of its own: its styles do not touch the notebook, and it runs no scripts."""
    style = f"width:100%;height:{HEIGHT}px;border:0"
    return f'<iframe srcdoc="{html.escape(document)}" sandbox title="report" style="{style}"></iframe>'
