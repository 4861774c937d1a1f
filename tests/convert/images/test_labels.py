"""The host's errors for label files, and class folders that are called by WordNet numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convert.errors import ImageSetError, SourceError
from convert.images.dataset import find_images
from convert.images.labels import notes_on, read_labels, with_label_names
from tests.convert.images.pictures import save_picture

INDEX = {"0": ["n01440764", "tench"], "1": ["n02012849", "crane"], "2": ["n03126707", "crane"]}


def test_labels_are_those_of_the_runtime(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("1: dog\r\n0: Käfer\r\n".encode("utf-16"))
    assert read_labels(path).names == ("Käfer", "dog")


def test_a_file_that_cannot_serve_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"--labels .*nowhere\.txt cannot be read"):
        read_labels(tmp_path / "nowhere.txt")


def test_what_a_file_was_taken_for_is_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0: cat\n1: dog\n")
    assert notes_on(read_labels(path), path.name) == ["labels.txt: 2 labels, one a line with numbers in front"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("crane\na\ncrane\n", "'crane' several times, told apart as 'crane (2)'"),
        (json.dumps(INDEX), "'crane' several times, told apart as 'crane (n02012849)' and 'crane (n03126707)'"),
        ("a\nb\na\nb\n", "'a' several times, told apart as 'a (2)', and 1 more names"),
    ],
)
def test_names_that_were_changed_are_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert notes_on(read_labels(path), path.name)[1] == f"labels.txt: {told}"


def test_folders_called_by_wordnet_numbers_are_their_labels(tmp_path: Path) -> None:
    for number in ("n03126707", "n01440764"):
        save_picture(tmp_path / "images" / number / "1.png")
    (tmp_path / "index.json").write_text(json.dumps(INDEX))
    labels = read_labels(tmp_path / "index.json")
    images = find_images(tmp_path / "images")
    named = with_label_names(images, labels)
    assert named.folders == ("tench", "crane (n03126707)")
    assert named.class_indices(labels.names) == [0, 2]
    assert named.names == images.names, "files keep their names"
    with pytest.raises(ImageSetError, match="they are WordNet numbers: pass --labels FILE with such numbers"):
        images.class_indices(labels.names)
