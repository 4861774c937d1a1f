"""A path that leads nowhere names the file that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.artifact import ArtifactError, check_tflite
from edge_runtime.nearby import did_you_mean


def test_the_most_alike_neighbour_is_named(tmp_path: Path) -> None:
    for name in ("birds.keras", "boats.keras", "birds"):
        (tmp_path / name).touch()
    assert did_you_mean(tmp_path / "birds.kerass") == f" (did you mean {tmp_path / 'birds.keras'}?)"
    assert did_you_mean(tmp_path / "Birds.keras") == f" (did you mean {tmp_path / 'birds.keras'}?)"


def test_what_is_not_alike_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "birds.keras").touch()
    assert did_you_mean(tmp_path / "cars.keras") == ""
    assert did_you_mean(tmp_path / "nowhere" / "birds.keras") == ""
    assert did_you_mean(Path("\0")) == ""


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "birds\x1b[2J.keras").touch()
    assert "\x1b" not in did_you_mean(tmp_path / "birds[2J.keras")


def test_errors_say_it_once_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "mine.int8.tflite").touch()
    path = tmp_path / "mine.int.tflite"
    with pytest.raises(ArtifactError) as raised:
        check_tflite(path)
    assert str(raised.value) == (
        f"model {path} does not exist or is not a file (did you mean {tmp_path / 'mine.int8.tflite'}?): "
        "pass the path of a .tflite file"
    )
