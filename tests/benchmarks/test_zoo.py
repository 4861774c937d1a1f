"""The table of keras.applications: complete, and with what failed in it."""

from __future__ import annotations

from pathlib import Path

import keras


def test_every_network_of_keras_is_in_the_list() -> None:
    import zoo

    theirs = {name for name in vars(keras.applications) if name[0].isupper()}
    assert set(zoo.NAMES) == theirs
    assert len(zoo.NAMES) == len(theirs)


def test_the_table_has_what_was_tried_and_names_the_rest(tmp_path: Path) -> None:
    import zoo

    zoo._write(tmp_path, zoo.Row("VGG16", "fast", 125.0, 120.0, 30.04, 60.0, 15.0, "uint8"))
    zoo._write(tmp_path, zoo.Row("VGG19", error="not done after 3600 s"))
    lines = list(zoo.table(tmp_path))
    assert "| VGG16 | fast | 125.0 | 120.0 | 30.0 | 60.0 | 15.0 | uint8 |  |" in lines
    assert any(line.startswith("| VGG19 | not done after 3600 s |") for line in lines)
    assert lines[-1].startswith("Not tried: ResNet50, ")
    assert "VGG" not in lines[-1]
