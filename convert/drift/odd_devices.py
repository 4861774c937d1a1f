"""Which device of several answers images otherwise than the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from convert.drift.decisions import Decision
from edge_runtime.arrays import Array

Answers = dict[Path, tuple[str, Array]]
"""Image -> SHA-256 of its prepared pixels, and its probabilities, float32 (classes,)."""


def odd_images(there: Mapping[str, Answers], here: Answers, decision: Decision) -> dict[str, list[Path]]:
    """Return for each device the images that it answers otherwise than most, where more than half agree.

    This host has a vote, too.
    """
    found: dict[str, list[Path]] = {name: [] for name in there}
    for path in here:
        votes = {name: answers[path] for name, answers in {**there, "": here}.items() if path in answers}
        answered = {name: decision.answers(row[1][None])[0].tobytes() for name, row in votes.items()}
        usual, count = Counter(answered.values()).most_common(1)[0]
        if 2 * count > len(answered):
            for name in there:
                if answered.get(name, usual) != usual:
                    found[name].append(path)
    return found


def answer_remarks(there: Mapping[str, Answers], here: Answers, decision: Decision, root: Path) -> list[str]:
    """Return a line for each device that answers otherwise; names of images are relative to `root`."""
    said = []
    for name, paths in odd_images(there, here, decision).items():
        if paths:
            images = "1 image" if len(paths) == 1 else f"{len(paths)} images"
            first = paths[0].relative_to(root).as_posix()
            said.append(f"{name} answers {images} differently from the others, first {first}")
    return said
