"""Label files as people write them, and those that cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.errors import SourceError
from convert.images.conventions import read_labels


def test_labels_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("T-shirt/top\r\n  Käfer \n\n猫\n".encode())
    assert read_labels(path) == ("T-shirt/top", "Käfer", "猫")


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    """Notepad writes one."""
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    assert read_labels(path) == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: write one label a line"),
        (b" \n\n", "is empty"),
        (b"cat\ndog\ncat\n", "has 'cat' twice"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
    ],
)
def test_label_files_that_cannot_serve_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_labels(path)


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"--labels .*nowhere\.txt cannot be read"):
        read_labels(tmp_path / "nowhere.txt")
