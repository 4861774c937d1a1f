"""Pictures of 16 bits that use 12 of them are said before anything is calibrated on black."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.images.bit_depth import dark_notes
from convert.images.dataset import find_images


@pytest.mark.parametrize(("top", "said"), [(4095, True), (65535, False)])
def test_some_of_many_are_looked_at(top: int, said: bool, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(60):
            Image.fromarray(np.full((4, 4), top, np.uint16)).save(tmp_path / label / f"{number}.png")
    notes = list(dark_notes(find_images(tmp_path)))
    assert bool(notes) == said
    if said:
        assert notes[0].startswith(f"40 of 40 images looked at in {tmp_path} are nearly black: {tmp_path}/cat/0.png")


def test_a_few_are_all_looked_at(tmp_path: Path) -> None:
    for number, top in enumerate((4095, 65535, 65535)):
        Image.fromarray(np.full((4, 4), top, np.uint16)).save(tmp_path / f"{number}.png")
    (note,) = dark_notes(find_images(tmp_path))
    assert note.startswith("1 of 3 images")
