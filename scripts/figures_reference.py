"""What each figure of a report means as Markdown, from the table that the report's page shows beside its figures.

python scripts/figures_reference.py > figures.md
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, where it is not installed

from convert.reporting.explanations import IN_GENERAL, explained

INTRODUCTION = """# What the figures mean

Generated from what the [report](report.md) says beside each figure: there a `?` opens it.

| figure | |
|---|---|
"""


def markdown() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(f"| {name} | {text} |\n" for name, text in explained(*IN_GENERAL).items())


if __name__ == "__main__":
    sys.stdout.write(markdown())
