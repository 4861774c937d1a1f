"""Name the file that was meant where a path leads nowhere."""

from __future__ import annotations

import os
from pathlib import Path

from edge_runtime.console import printable


def did_you_mean(path: Path) -> str:
    """Return " (did you mean PATH?)" of the neighbour whose name is most like that of a missing path; "" for none."""
    from difflib import get_close_matches  # not loaded where every path is right

    try:
        neighbours = os.listdir(path.parent)
    except (OSError, ValueError):
        return ""
    nearest = get_close_matches(path.name, [each for each in neighbours if each != path.name], n=1, cutoff=0.8)
    return f" (did you mean {printable(str(path.with_name(nearest[0])))}?)" if nearest else ""
