"""Images come decoded and in order, and what cannot be read is skipped and told."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.errors import ImageSetError
from convert.images.dataset import find_images
from convert.images.reader import PixelReader, in_order, note_skipped, refuse_unreadable
from edge_runtime.preprocess import Pixels
from tests.convert.images.pictures import SPEC, greys


def test_unreadable_files_are_skipped_and_told(tmp_path: Path) -> None:
    images = greys(tmp_path, 20)
    for i in (3, 17):
        images.paths[i].write_bytes(b"no picture")
    reader = PixelReader(SPEC)
    read = list(reader.read(images))
    assert [index for index, _ in read] == [i for i in range(20) if i not in (3, 17)]
    assert all((pixels == index).all() for index, pixels in read), "pixels belong to their index"
    told: list[str] = []
    note_skipped(told.append, reader.skipped, images)
    assert "003.png" in told[0]
    assert "017.png" in told[1]
    assert told[2] == f"2 of 20 images in {tmp_path} cannot be read"
    assert all("\n" not in line for line in told)


def test_a_cut_off_picture_and_a_dangling_link_are_unreadable(tmp_path: Path) -> None:
    images = greys(tmp_path, 19)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(images.paths[0])
    images.paths[0].write_bytes(images.paths[0].read_bytes()[:3000])
    (tmp_path / "zzz.png").symlink_to(tmp_path / "nowhere.png")
    reader = PixelReader(SPEC)
    assert len(list(reader.read(find_images(tmp_path)))) == 18
    assert len(reader.skipped) == 2


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_is_computed_of_pictures_is_what_one_after_the_other_gives(at_once: int, tmp_path: Path) -> None:
    """The first picture takes longest, and one cannot be read."""
    images = greys(tmp_path, 20)
    images.paths[7].write_bytes(b"no picture")

    def compute(pixels: Pixels) -> int:
        time.sleep(0.05 if not pixels.any() else 0)
        return int(pixels[0, 0, 0]) ** 2

    reader = PixelReader(SPEC)
    assert list(reader.run(images, compute, at_once)) == [(i, i * i) for i in range(20) if i != 7]
    assert len(reader.skipped) == 1


def test_as_many_are_computed_at_once_as_were_asked_for(tmp_path: Path) -> None:
    """Each of three waits for the two others."""
    together = threading.Barrier(3)
    found = PixelReader(SPEC).run(greys(tmp_path, 6), lambda pixels: together.wait(10) >= 0, at_once=3)
    assert [done for _, done in found] == [True] * 6


def test_what_went_wrong_comes_in_its_place(tmp_path: Path) -> None:
    def compute(pixels: Pixels) -> int:
        if pixels[0, 0, 0] == 5:
            raise OSError("out of paper")
        return 0

    found = PixelReader(SPEC).run(greys(tmp_path, 20), compute, at_once=4)
    assert [next(found)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="out of paper"):
        next(found)


def test_little_is_computed_for_nothing() -> None:
    begun: list[int] = []
    squares = in_order(begun.append, range(100), threads=2, ahead=3)
    for _ in range(10):
        next(squares)
    squares.close()  # type: ignore[attr-defined]
    assert 10 <= len(begun) <= 13
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_nothing_is_noted_when_everything_is_readable(tmp_path: Path) -> None:
    told: list[str] = []
    note_skipped(told.append, [], greys(tmp_path, 1))
    assert told == []


@pytest.mark.parametrize(("unreadable", "refused"), [(2, False), (3, True)])
def test_more_than_a_tenth_unreadable_is_an_error(unreadable: int, refused: bool, tmp_path: Path) -> None:
    images = greys(tmp_path, 20)
    for path in images.paths[:unreadable]:
        path.write_bytes(b"no picture")
    reader = PixelReader(SPEC)
    assert len(list(reader.read(images))) == 20 - unreadable
    if not refused:
        refuse_unreadable(reader.skipped, images)
        return
    with pytest.raises(
        ImageSetError, match=r"3 of 20 images in .* more than 10%: repair or remove them; the first: .*000\.png"
    ):
        refuse_unreadable(reader.skipped, images)


def test_more_images_than_are_read_ahead_come_in_order(tmp_path: Path) -> None:
    read = list(PixelReader(SPEC).read(greys(tmp_path, 100)))
    assert [(index, int(pixels.mean())) for index, pixels in read] == [(i, i) for i in range(100)]


def test_a_reader_that_is_left_early_does_not_hang(tmp_path: Path) -> None:
    reading = PixelReader(SPEC).read(greys(tmp_path, 100))
    assert next(iter(reading))[0] == 0
    reading.close()  # type: ignore[attr-defined]
