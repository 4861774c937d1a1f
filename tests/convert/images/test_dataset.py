"""Which files make an image set, and what is said of those that do not."""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from convert.errors import ImageSetError
from convert.images.dataset import (
    UNREADABLE,
    ImageSet,
    comparable,
    find_images,
    manifest,
    manifest_sha256,
    refuse_overlap,
)
from convert.images.reader import PixelReader
from edge_runtime.preprocess import READABLE, SUFFIXES
from tests.convert.images.pictures import SPEC, greys, save_picture


def names(images: ImageSet) -> list[str]:
    return [str(path.relative_to(images.root)) for path in images.paths]


def test_every_format_is_found_whatever_its_case(tmp_path: Path) -> None:
    for i, suffix in enumerate((*SUFFIXES, ".JPG", ".Png")):
        save_picture(tmp_path / f"{i:02}{suffix}", i)
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


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_accents_that_macos_writes_apart_are_the_same(forms: tuple[str, str], tmp_path: Path) -> None:
    folder, label = (unicodedata.normalize(form, "manteau d'été") for form in forms)
    save_picture(tmp_path / folder / "1.png")
    assert find_images(tmp_path).class_indices(["robe", label, "ete"]) == [1]


def test_both_sides_of_a_disagreement_are_named(tmp_path: Path) -> None:
    for folder in ("cat", "wolf", "fox"):
        save_picture(tmp_path / folder / "1.png")
    images = find_images(tmp_path)
    with pytest.raises(ImageSetError, match=r"folder 'fox' and 1 more .* labels cat, dog, of which dog have no folder"):
        images.class_indices(["cat", "dog"])
    assert images.without_folder(["Cat", "wolf", "dog", "fox"]) == ["dog"]
    assert images.shuffled()[:1].without_folder(["Cat", "wolf", "dog", "fox"]) == ["dog"], "a part lacks no more"


def test_files_that_are_not_looked_at_and_classes_without_images_are_said(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.jfif", "dog/1.jxl", "dog/2.jxl", "owl/1.RAW", "Thumbs.db", ".DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "fox").mkdir()
    images = find_images(tmp_path)
    assert images.names == ["cat/1.png", "cat/2.jfif"]
    files, classes = images[:1].shuffled().notes
    assert "3 files not looked at, since only images can be read (.RAW, .jxl): 2 in dog, 1 in owl" in files
    assert "no image that can be read in dog, fox, owl: nothing is measured for such a class" in classes


def test_folders_of_a_system_are_no_classes(tmp_path: Path) -> None:
    """What macOS puts into a zip, and the thumbnails of a Synology."""
    for name in ("cat/1.png", "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/cat/._1.png", "@eaDir/x.jpg"):
        save_picture(tmp_path / name)
    images = find_images(tmp_path)
    assert (images.names, images.notes) == (["cat/1.png"], ())


@pytest.mark.skipif("HEIF" in READABLE, reason="a plugin reads them here")
def test_what_reads_heic_is_named(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat" / "1.png")
    (tmp_path / "cat" / "2.HEIC").touch()
    (note,) = find_images(tmp_path).notes
    assert note.endswith("1 in cat; pass JPEG, PNG, WebP, BMP, AVIF, GIF or TIFF (HEIC: pip install pillow-heif)")


def test_a_folder_above_the_class_folders_is_told_from_them(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png"):
        save_picture(tmp_path / name)
    with pytest.raises(ImageSetError, match=r"'train' and 1 more .* none of .*: the folders in it do: pass .*train"):
        find_images(tmp_path).class_indices(["cat", "dog"])
    assert find_images(tmp_path / "train").class_indices(["cat", "dog"]) == [0, 1]


def test_a_folder_of_other_files_alone_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "1.heic").touch()
    with pytest.raises(ImageSetError, match=r"no images in .*, not in \.heic"):
        find_images(tmp_path)


def test_a_folder_that_is_no_label_is_named(tmp_path: Path) -> None:
    save_picture(tmp_path / "cat" / "1.png")
    save_picture(tmp_path / "wolf" / "1.png")
    with pytest.raises(ImageSetError, match=r"folder 'wolf' in .* matches none of the labels cat, dog"):
        find_images(tmp_path).class_indices(["cat", "dog"])


def test_a_misspelt_folder_gets_the_label_that_was_meant(tmp_path: Path) -> None:
    for name in ("cat", "tigershark"):
        save_picture(tmp_path / name / "1.png")
    with pytest.raises(ImageSetError, match=r"folder 'tigershark' in .* is none of the labels: did you mean 'tiger sh"):
        find_images(tmp_path).class_indices(["cat", "dog", "tiger sharks"])


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
    with pytest.raises(ImageSetError, match=r"stray\.png is beside class folders"):
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


def test_a_shuffle_is_seeded(tmp_path: Path) -> None:
    for name in "abcdefgh":
        for i in range(4):
            save_picture(tmp_path / name / f"{i}.png")
    images = find_images(tmp_path)
    shuffled = images.shuffled()
    assert shuffled == images.shuffled()
    assert shuffled.paths != images.paths
    assert sorted(shuffled.paths) == list(images.paths)
    assert shuffled.folders == tuple(path.parent.name for path in shuffled.paths), "classes move with their images"
    assert len(set(shuffled[:10].folders or ())) > 3, "not the first classes only"


def test_a_slice_is_a_set(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        save_picture(tmp_path / name)
    images = find_images(tmp_path)
    assert names(images[1:]) == ["cat/2.png", "dog/1.png"]
    assert images[1:].folders == ("cat", "dog")
    assert images[:None] == images[:1000] == images
    assert greys(tmp_path / "flat", 3)[-1:].folders is None


def test_a_shuffle_does_not_change_with_a_numpy_release(tmp_path: Path) -> None:
    """The reports of two machines are compared image by image."""
    assert [int(path.stem) for path in greys(tmp_path, 8).shuffled().paths] == [4, 3, 2, 6, 1, 7, 0, 5]


def test_overlap_is_refused_by_content_not_by_name(tmp_path: Path) -> None:
    calibration, validation = greys(tmp_path / "calibration", 3), tmp_path / "validation"
    save_picture(validation / "000.png", 200)
    refuse_overlap(calibration, find_images(validation))
    shutil.copy(tmp_path / "calibration" / "002.png", validation / "copy.png")
    with pytest.raises(ImageSetError, match=r"share an image: .*002\.png is .*copy\.png"):
        refuse_overlap(calibration, find_images(validation))
    with pytest.raises(ImageSetError, match=r"share an image: [^ ]*/calibration/\d+\.png; .*: take it out of one"):
        refuse_overlap(calibration, calibration)


def test_the_manifest_knows_names_and_contents_but_no_order_and_no_place(tmp_path: Path) -> None:
    images = greys(tmp_path / "here", 5)
    whole = manifest_sha256(images)
    assert manifest_sha256(images.shuffled()) == whole
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert manifest_sha256(find_images(tmp_path / "there")) == whole
    assert manifest_sha256(images[:4]) != whole
    save_picture(tmp_path / "there" / "000.png", 99)
    assert manifest_sha256(find_images(tmp_path / "there")) != whole
    images.paths[0].rename(tmp_path / "here" / "renamed.png")
    assert manifest_sha256(find_images(tmp_path / "here")) != whole


def test_the_manifest_of_parts_is_that_of_the_whole(tmp_path: Path) -> None:
    """A card has one hash for the images that were calibrated on and those held out."""
    images = greys(tmp_path, 5)
    assert manifest_sha256(images[:3], images[3:]) == manifest_sha256(images, None) == manifest_sha256(images)


def test_the_manifest_has_not_changed_since_the_first_card(tmp_path: Path) -> None:
    """Cards hold it: contents and names, sorted, one a line."""
    for name, content in (("b/2.png", b"two"), ("a/1.png", b"one")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    lines = sorted(
        f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in (("b/2.png", b"two"), ("a/1.png", b"one"))
    )
    assert manifest_sha256(find_images(tmp_path)) == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_a_file_that_cannot_be_read_has_a_line(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "nowhere.png")
    (read, first), (unread, second) = manifest(find_images(tmp_path))
    assert (first, second, unread) == ("1.png", "2.png", UNREADABLE)
    assert read == hashlib.sha256((tmp_path / "1.png").read_bytes()).hexdigest()


def test_the_manifest_counts_copies_of_one_image(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png", 7)
    alone = manifest_sha256(find_images(tmp_path))
    for name in ("0.png", "2.png"):
        shutil.copy(tmp_path / "1.png", tmp_path / name)
    images = find_images(tmp_path)
    assert manifest_sha256(images) != alone
    assert manifest_sha256(images) == manifest_sha256(images.shuffled()), "whichever copy comes last"


def test_names_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png")
    os.rename(os.fsencode(tmp_path / "1.png"), os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png"))
    images = find_images(tmp_path)
    assert len(manifest_sha256(images)) == 64
    assert len(list(PixelReader(SPEC).read(images))) == 1


def test_a_folder_of_imagenet_may_have_its_number_in_front(tmp_path: Path) -> None:
    for name in ("n01440764_tench", "n01443537_goldfish"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    assert find_images(tmp_path).class_indices(["goldfish", "Tench"]) == [1, 0]
    with pytest.raises(ImageSetError, match=r"n01443537_goldfish' .* could be 'goldfish' or 'n01443538 goldfish'"):
        find_images(tmp_path).class_indices(["goldfish", "Tench", "n01443538 goldfish"])
