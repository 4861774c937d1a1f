"""Labels of images from a CSV file, in the forms that people have; what does not fit is named in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.errors import ImageSetError
from convert.images.dataset import find_images
from convert.images.image_labels import read_image_labels
from edge_runtime.specs import INDEPENDENT, SOFTMAX
from tests.convert.images.pictures import save_picture

LABELS = ("cat", "dog", "Pleural Thickening")


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def found(folder: Path, text: str, names: Sequence[str], labels: Sequence[str] = LABELS) -> list[list[int]]:
    return [[int(x) for x in row] for row in read_image_labels(written(folder, text)).of(names, labels)]


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(ImageSetError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "image,cat,dog,Pleural Thickening\na.png,1,0,0\nb.png,0,1,1\nc.png,0,0,0\n",
        "\ufeffdog,Pleural_Thickening,age,file_name,Cat\r\n0,0,61,a.png,1\r\n1,1,58,b.png,\r\n0.0,0,9,c.png,FALSE\r\n",
        "image,labels\na.png,cat\nb.png,dog|Pleural Thickening\nc.png,\n",
        "Image Index,Finding Labels,Patient Age\na.png,cat,3\nb.png,pleural_thickening|dog,4\nc.png,No Finding,5\n",
        "file;tags\na.png;cat\nb.png;dog|Pleural Thickening\nc.png;none\n",
        "what\twhich\na.png\tcat\nb.png\tdog;Pleural Thickening\nc.png\t\n",
        'image,labels\n"a.png","cat"\n"b.png","dog; Pleural Thickening"\n\n"c.png",""\n',
    ],
    ids=["columns", "columns in any order", "one column", "ChestX-ray14", "semicolons", "tabs", "quotes"],
)
def test_the_forms_that_people_have(text: str, tmp_path: Path) -> None:
    assert found(tmp_path, text, ["a.png", "b.png", "c.png"]) == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=8))
def test_columns_and_lists_say_the_same(rows: list[list[bool]]) -> None:
    from tempfile import TemporaryDirectory

    names = [f"{i}.png" for i in range(len(rows))]
    columns = [f"{name},{','.join(str(int(x)) for x in row)}" for name, row in zip(names, rows, strict=True)]
    lists = [
        f"{name},{'|'.join(label for label, there in zip(LABELS, row, strict=True) if there)}"
        for name, row in zip(names, rows, strict=True)
    ]
    with TemporaryDirectory() as folder:
        for header, lines in ((f"image,{','.join(LABELS)}", columns), ("image,labels", lists)):
            text = "\n".join([header, *lines])
            assert found(Path(folder), text, names) == [[int(x) for x in row] for row in rows]


def test_names_match_by_path_then_by_name_then_without_suffix(tmp_path: Path) -> None:
    text = "image,labels\ntrain/one/a.png,cat\none/a.png,dog\nimages\\b.png,dog\nc,cat\n"
    assert found(tmp_path, text, ["one/a.png", "two/b.png", "c.jpg"]) == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_a_label_called_no_finding_is_a_label(tmp_path: Path) -> None:
    assert found(tmp_path, "image,labels\na.png,No Finding\n", ["a.png"], ["No Finding", "mass"]) == [[1, 0]]


def test_a_label_with_a_bar_in_it_is_one_label(tmp_path: Path) -> None:
    assert found(tmp_path, "image,labels\na.png,cat|dog\n", ["a.png"], ["cat", "cat|dog"]) == [[0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\nb.png,cat\n", "has no line for a.png: add it, or take the image away"),
        ("image,labels\na.png,horse\n", "gives a.png the label 'horse', which is none of cat, dog, Pleural Thickening: "
         "write it as the network's labels have it, or pass --labels FILE"),
        ("image,cat,dog\na.png,1,0\n", "has no column for label 'Pleural Thickening': give each label a column of 0 "
         "and 1, or all of them one column called labels"),
        ("image,cat,dog,pleural thickening\na.png,1,-1,0\n", "has '-1' for 'dog' of a.png: write 1 or 0"),
        ("image,labels\nx/a.png,cat\ny/a.png,dog\n", "has 2 different lines for a.png: leave one, or write the paths "
         "of the images below their folder"),
        ("image,labels\na.png\n", "has a line of 1 columns, 'a.png', its header has 2: give each line as many"),
        ("a.png cat\n", "is no table of images and labels: begin with a line such as image,labels"),
        ("", "is no table of images and labels: begin with a line such as image,labels"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    assert error_of(lambda: read_image_labels(path).of(["a.png"], LABELS)) == f"--image-labels {path} {message}"


def test_many_missing_images_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "image,labels\na.png,cat\n")
    message = error_of(lambda: read_image_labels(path).of(["a.png", "b.png", "c.png"], LABELS))
    assert message.endswith("has no line for b.png and 1 more of 3 images: add it, or take the image away")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    assert error_of(lambda: read_image_labels(path)).startswith(f"--image-labels {path} cannot be read as CSV in UTF-8")
    path.write_bytes(b"\xff\xfe\x00")
    assert error_of(lambda: read_image_labels(path)).startswith(f"--image-labels {path} cannot be read as CSV in UTF-8")


def test_a_set_of_images_knows_its_truth(tmp_path: Path) -> None:
    for name in ("cat/0.png", "cat/1.png", "dog/2.png"):
        save_picture(tmp_path / "images" / name)
    images, labels = find_images(tmp_path / "images"), ["dog", "cat"]
    assert images.truth(labels, SOFTMAX) == [1, 1, 0]
    np.testing.assert_array_equal(images.truth(labels, INDEPENDENT), [[0, 1], [0, 1], [1, 0]])
    said = replace(images, image_labels=read_image_labels(written(tmp_path, "image,labels\n0,dog\n1,\n2,cat|dog\n")))
    np.testing.assert_array_equal(said.truth(labels, INDEPENDENT), [[1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(said[1:].truth(labels, INDEPENDENT), [[0, 0], [1, 1]])
    shuffled = said.shuffled()
    expected = {"cat/0.png": [1, 0], "cat/1.png": [0, 0], "dog/2.png": [1, 1]}
    np.testing.assert_array_equal(shuffled.truth(labels, INDEPENDENT), [expected[name] for name in shuffled.names])
    assert "gives cat/1.png 0 labels, the network's classes exclude each other: give each image one" in error_of(
        lambda: said.truth(labels, SOFTMAX)
    )
    assert said[:1].truth(labels, SOFTMAX) == [0]


def test_a_flat_folder_has_no_truth(tmp_path: Path) -> None:
    save_picture(tmp_path / "0.png")
    assert find_images(tmp_path).truth(["cat"], INDEPENDENT) is None
