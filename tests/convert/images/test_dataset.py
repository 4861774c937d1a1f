"""Which files make an image set, and what is said of those that do not."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.errors import ImageSetError
from convert.images.dataset import (
    ImageSet,
    PixelReader,
    comparable,
    find_images,
    in_order,
    manifest_sha256,
    note_skipped,
    refuse_overlap,
)
from edge_runtime import InputSpec
from edge_runtime.preprocess import SUFFIXES, Pixels

SPEC = InputSpec(4, 4, mean=(0, 0, 0), std=(1, 1, 1))


def save_picture(path: Path, value: int = 0) -> Path:
    """A 4x4 picture of one grey; other values make other files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, value, value)).save(path)
    return path


def names(images: ImageSet) -> list[str]:
    return [str(path.relative_to(images.root)) for path in images.paths]


def greys(folder: Path, count: int) -> ImageSet:
    """A flat set of `count` pictures, the i-th of grey i."""
    for i in range(count):
        save_picture(folder / f"{i:03}.png", i)
    return find_images(folder)


def test_every_format_is_found_whatever_its_case(tmp_path: Path) -> None:
    for i, suffix in enumerate((*SUFFIXES, ".JPG", ".Png")):
        save_picture(tmp_path / f"{i}{suffix}", i)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "png").write_text("no suffix")
    images = find_images(tmp_path)
    assert len(images) == len(SUFFIXES) + 2
    assert images.folders is None
    read = dict(PixelReader(SPEC).read(images))
    assert len(read) == len(images)
    assert all(pixels.shape == (4, 4, 3) and abs(int(pixels.mean()) - i) <= 2 for i, pixels in read.items())


def test_the_top_folder_is_the_class_however_deep_the_file(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/young/2.png", "cat/young/sleeping/3.png", "dog/1.png"):
        save_picture(tmp_path / name)
    images = find_images(tmp_path)
    assert names(images) == ["cat/1.png", "cat/young/2.png", "cat/young/sleeping/3.png", "dog/1.png"]
    assert images.folders == ("cat", "cat", "cat", "dog")
    assert images.class_indices(["dog", "cat"]) == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("folder", "label"),
    [("T-shirt_top", "T-shirt/top"), ("great white shark", "great_white_shark"), ("Ankle-Boot", "ankle boot")],
)
def test_folders_match_labels_as_file_systems_allow(folder: str, label: str, tmp_path: Path) -> None:
    save_picture(tmp_path / folder / "1.png")
    assert find_images(tmp_path).class_indices(["other", label]) == [1]


def test_letters_of_other_alphabets_count() -> None:
    assert comparable("Käfer") != comparable("Kfer")
    assert comparable("猫") != comparable("犬")


def test_a_folder_that_is_no_label_is_named(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat" / "1.png")
    save_picture(tmp_path / "wolf" / "1.png")
    with pytest.raises(ImageSetError, match=r"folder 'wolf' in .* is none of the labels cat, dog"):
        find_images(tmp_path).class_indices(["cat", "dog"])


def test_labels_that_are_alike_need_folders_of_exactly_their_name(tmp_path: Path) -> None:
    for folder in ("C", "C++"):
        save_picture(tmp_path / folder / "1.png")
    assert find_images(tmp_path).class_indices(["C#", "C++", "C"]) == [2, 1]
    save_picture(tmp_path / "c" / "1.png")
    with pytest.raises(ImageSetError, match=r"folder 'c' in .* could be 'C' or 'C\+\+'"):
        find_images(tmp_path).class_indices(["C", "C++"])


def test_flat_folders_have_no_classes(tmp_path: Path) -> None:
    assert greys(tmp_path, 2).class_indices(["cat", "dog"]) is None


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat" / "1.png")
    save_picture(tmp_path / "stray.png")
    with pytest.raises(ImageSetError, match=r"stray\.png lies beside class folders"):
        find_images(tmp_path)


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat" / "1.png")
    save_picture(tmp_path / "cat" / ".2.png")
    (tmp_path / "cat" / "._1.png").write_bytes(b"what macOS leaves on foreign disks")
    assert names(find_images(tmp_path)) == ["cat/1.png"]


@pytest.mark.parametrize("hidden", [".thumbnails", "cat/.thumbnails", "__MACOSX/.cat"])
def test_hidden_folders_hold_no_images(hidden: str, tmp_path: Path) -> None:
    """Thumbnails would be classes of their own, and copies of calibration images among the validation ones."""
    save_picture(tmp_path / "cat" / "1.png")
    save_picture(tmp_path / hidden / "1.png")
    assert names(find_images(tmp_path)) == ["cat/1.png"]


def test_a_hidden_root_is_searched(tmp_path: Path) -> None:
    """Whoever names a folder means it."""
    save_picture(tmp_path / ".cache" / "cat" / "1.png")
    assert names(find_images(tmp_path / ".cache")) == ["cat/1.png"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat" / "1.png")
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert names(find_images(tmp_path)) == ["cat/1.png"]


def test_linked_files_and_a_linked_root_are_followed(tmp_path: Path) -> None:
    """The way large sets are shared out over folders."""
    save_picture(tmp_path / "store" / "1.png")
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "1.png").symlink_to(tmp_path / "store" / "1.png")
    (tmp_path / "linked").symlink_to(tmp_path / "set", target_is_directory=True)
    images = find_images(tmp_path / "linked")
    assert names(images) == ["cat/1.png"]
    assert len(dict(PixelReader(SPEC).read(images))) == 1


def test_a_folder_named_like_an_image_is_none(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat.png" / "1.png")
    assert find_images(tmp_path).folders == ("cat.png",)


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_a_folder_without_images_is_named(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    if kind == "file":
        root.write_text("")
    if kind == "empty":
        (root / "cat").mkdir(parents=True)
    with pytest.raises(ImageSetError, match=r"pictures"):
        find_images(root)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """os.walk would skip it in silence, and a class with it."""
    save_picture(tmp_path / "cat" / "1.png")
    save_picture(tmp_path / "dog" / "1.png")
    listed: Callable[[str], object] = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ImageSetError, match=r"dog cannot be read: Permission denied"):
        find_images(tmp_path)


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
    if not refused:
        assert len(list(reader.read(images))) == 20 - unreadable
        return
    with pytest.raises(ImageSetError, match=r"3 of 20 images in .* more than 10%; the first: .*000\.png"):
        list(reader.read(images))


def test_a_reader_judges_each_set_by_itself(tmp_path: Path) -> None:
    broken, whole = greys(tmp_path / "broken", 20), greys(tmp_path / "whole", 5)
    for path in broken.paths[:2]:
        path.write_bytes(b"no picture")
    reader = PixelReader(SPEC)
    assert len(list(reader.read(broken))) == 18
    assert len(list(reader.read(whole))) == 5
    assert len(reader.skipped) == 2


def test_more_images_than_are_read_ahead_come_in_order(tmp_path: Path) -> None:
    read = list(PixelReader(SPEC).read(greys(tmp_path, 100)))
    assert [(index, int(pixels.mean())) for index, pixels in read] == [(i, i) for i in range(100)]


def test_a_reader_that_is_left_early_does_not_hang(tmp_path: Path) -> None:
    reading = PixelReader(SPEC).read(greys(tmp_path, 100))
    assert next(iter(reading))[0] == 0
    reading.close()  # type: ignore[attr-defined]


def test_a_sample_is_a_seeded_shuffle(tmp_path: Path) -> None:
    for name in "abcdefgh":
        for i in range(4):
            save_picture(tmp_path / name / f"{i}.png")
    images = find_images(tmp_path)
    shuffled = images.sample(None)
    assert shuffled == images.sample(None)
    assert shuffled.paths != images.paths
    assert sorted(shuffled.paths) == list(images.paths)
    assert shuffled.folders == tuple(path.parent.name for path in shuffled.paths), "classes move with their images"
    assert images.sample(10) == shuffled.first(10)
    assert len(set(images.sample(10).folders or ())) > 3, "not the first classes only"
    assert len(images.sample(1000)) == 32


def test_a_sample_does_not_change_with_a_numpy_release(tmp_path: Path) -> None:
    """The reports of two machines are compared image by image."""
    assert [int(path.stem) for path in greys(tmp_path, 8).sample(None).paths] == [4, 3, 2, 6, 1, 7, 0, 5]


def test_overlap_is_refused_by_content_not_by_name(tmp_path: Path) -> None:
    calibration, validation = greys(tmp_path / "calibration", 3), tmp_path / "validation"
    save_picture(validation / "000.png", 200)
    refuse_overlap(calibration, find_images(validation))
    shutil.copy(tmp_path / "calibration" / "002.png", validation / "copy.png")
    with pytest.raises(ImageSetError, match=r"share an image: .*002\.png is .*copy\.png"):
        refuse_overlap(calibration, find_images(validation))


def test_the_manifest_knows_names_and_contents_but_no_order_and_no_place(tmp_path: Path) -> None:
    images = greys(tmp_path / "here", 5)
    manifest = manifest_sha256(images)
    assert manifest_sha256(images.sample(None)) == manifest
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert manifest_sha256(find_images(tmp_path / "there")) == manifest
    assert manifest_sha256(images.first(4)) != manifest
    save_picture(tmp_path / "there" / "000.png", 99)
    assert manifest_sha256(find_images(tmp_path / "there")) != manifest
    images.paths[0].rename(tmp_path / "here" / "renamed.png")
    assert manifest_sha256(find_images(tmp_path / "here")) != manifest


def test_the_manifest_counts_copies_of_one_image(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png", 7)
    alone = manifest_sha256(find_images(tmp_path))
    for name in ("0.png", "2.png"):
        shutil.copy(tmp_path / "1.png", tmp_path / name)
    images = find_images(tmp_path)
    assert manifest_sha256(images) != alone
    assert manifest_sha256(images) == manifest_sha256(images.sample(None)), "whichever copy comes last"


def test_names_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png")
    os.rename(os.fsencode(tmp_path / "1.png"), os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png"))
    images = find_images(tmp_path)
    assert len(manifest_sha256(images)) == 64
    assert len(list(PixelReader(SPEC).read(images))) == 1
