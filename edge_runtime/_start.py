"""Begin `irv2-predict`: hash the model while Python imports NumPy and the rest, which takes as long."""

from __future__ import annotations

import sys

from edge_runtime.hashing import begin


def predict() -> int:
    """Run `irv2-predict` with the arguments of the process, and return its exit code."""
    begin(sys.argv[1:])
    from edge_runtime.predict import main

    return main()
