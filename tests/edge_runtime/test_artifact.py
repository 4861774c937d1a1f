"""An artifact opens when every part of it is as it was packaged, and otherwise says why not."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime import ArtifactError
from edge_runtime._archive import MAX_MEMBER_BYTES
from edge_runtime.artifact import CARD_NAME, LABELS_NAME, has_card, open_artifact
from tests.edge_runtime.tiny_model import LABELS, TinyArtifact, tiny_artifact


def flip(path: Path, offset: int) -> Path:
    """Invert one byte of the file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    return path


def test_a_sound_artifact_opens(artifact_path: Path) -> None:
    tiny = tiny_artifact()
    artifact = open_artifact(artifact_path)
    assert (artifact.card, artifact.labels, artifact.flatbuffer_bytes) == (tiny.card, LABELS, len(tiny.flatbuffer))


def test_members_may_be_deflated(tmp_path: Path) -> None:
    path = tiny_artifact().write(tmp_path / "deflated.tflite", zipfile.ZIP_DEFLATED)
    assert open_artifact(path).labels == LABELS


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(lambda tiny: tiny.flatbuffer[300:340], id="flatbuffer"),
        pytest.param(lambda tiny: tiny.labels, id="labels"),
        pytest.param(lambda tiny: b'"mean colour"', id="card"),
    ],
)
def test_one_wrong_byte_is_noticed(artifact_path: Path, part: Callable[[TinyArtifact], bytes]) -> None:
    flip(artifact_path, artifact_path.read_bytes().index(part(tiny_artifact())) + 1)
    with pytest.raises(ArtifactError, match=r"copy (it|the file) again"):
        open_artifact(artifact_path)


@pytest.mark.parametrize(
    ("tiny", "part"),
    [
        (replace(tiny_artifact(), labels=b"red\nblue\ngreen\n"), "labels"),
        (replace(tiny_artifact(), flatbuffer=tiny_artifact().flatbuffer + b"\0"), "flatbuffer"),
        (replace(tiny_artifact(), card=replace(tiny_artifact().card, name="other")), "card"),
    ],
)
def test_a_part_replaced_in_a_valid_zip_is_noticed(tmp_path: Path, tiny: TinyArtifact, part: str) -> None:
    with pytest.raises(ArtifactError, match=f"checksum of the {part} does not match"):
        open_artifact(tiny.write(tmp_path / "replaced.tflite"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_wrong_byte_in_the_zip_goes_unnoticed_or_unexplained(tmp_path: Path, compression: int) -> None:
    tiny = tiny_artifact()
    path = tiny.write(tmp_path / "tiny.tflite", compression)
    whole = path.read_bytes()
    noticed = 0
    for offset in range(len(tiny.flatbuffer), len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0xFF]) + whole[offset + 1 :])
        try:
            artifact = open_artifact(path)
        except ArtifactError:
            noticed += 1
        else:  # a time stamp, say
            assert (artifact.card, artifact.labels) == (tiny.card, LABELS)
    assert noticed > (len(whole) - len(tiny.flatbuffer)) / 2


def test_no_cut_goes_unnoticed(artifact_path: Path) -> None:
    whole = artifact_path.read_bytes()
    for length in range(0, len(whole), 37):
        artifact_path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            open_artifact(artifact_path)


def test_a_cut_file_says_so(artifact_path: Path) -> None:
    artifact_path.write_bytes(artifact_path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"carries no card: it is cut off.*copy it again"):
        open_artifact(artifact_path)


def test_a_foreign_model_needs_an_input_spec(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_artifact().flatbuffer)
    with pytest.raises(ArtifactError, match="open a foreign model with an explicit InputSpec"):
        open_artifact(path)
    assert not has_card(path)


def test_a_foreign_zip_at_the_tail_is_no_card(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_artifact().flatbuffer)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LABELS_NAME, "red\ngreen\nblue\n")
    with pytest.raises(ArtifactError, match=r"has 0 card\.json.*explicit InputSpec"):
        open_artifact(path)
    assert not has_card(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [CARD_NAME, LABELS_NAME])
def test_a_second_member_of_the_same_name_is_refused(artifact_path: Path, name: str) -> None:
    with zipfile.ZipFile(artifact_path, "a") as archive:
        archive.writestr(name, archive.read(name))
    with pytest.raises(ArtifactError, match=f"has 2 {name}"):
        open_artifact(artifact_path)


def test_a_member_that_would_inflate_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    bomb = replace(tiny_artifact(), labels=bytes(MAX_MEMBER_BYTES + 1))
    path = bomb.write(tmp_path / "bomb.tflite", zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(ArtifactError, match=r"labels\.txt claims 8,388,609 bytes"):
        open_artifact(path)


def test_a_member_that_claims_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    bomb = replace(tiny_artifact(), labels=bytes(1_000_000))
    path = bomb.write(tmp_path / "bomb.tflite", zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace((1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(ArtifactError, match="damaged"):
        open_artifact(path)


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    path = tiny_artifact().write(tmp_path / "lzma.tflite", zipfile.ZIP_LZMA)
    with pytest.raises(ArtifactError, match="compressed by method 14"):
        open_artifact(path)


@pytest.mark.parametrize("labels", [b"red\ngreen\n", b"red\ngreen\nblue\nviolet\n", b""])
def test_labels_must_be_as_many_as_classes(tmp_path: Path, labels: bytes) -> None:
    path = replace(tiny_artifact(), labels=labels).signed().write(tmp_path / "labels.tflite")
    with pytest.raises(ArtifactError, match=rf"{labels.count(10)} labels for 3 classes: package it again"):
        open_artifact(path)


def test_labels_must_be_utf_8(tmp_path: Path) -> None:
    path = replace(tiny_artifact(), labels=b"r\xf6t\ngreen\nblue\n").signed().write(tmp_path / "labels.tflite")
    with pytest.raises(ArtifactError, match="not UTF-8"):
        open_artifact(path)


def test_a_pinned_file_opens_and_another_does_not(artifact_path: Path) -> None:
    right = hashlib.sha256(artifact_path.read_bytes()).hexdigest()
    assert open_artifact(artifact_path, right.upper()).labels == LABELS
    with pytest.raises(ArtifactError, match=f"has SHA-256 {right}, expected {'0' * 64}"):
        open_artifact(artifact_path, "0" * 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist or is not a file"),
        (lambda path: path.mkdir(), "does not exist or is not a file"),
        (lambda path: path.write_bytes(b""), "is not a TFLite model: it is empty; pass a .tflite file"),
        (
            lambda path: path.write_bytes(b"PK\3\4 and so on"),
            "it is a zip file, as Keras' .keras files are; make a .tflite of it with irv2-convert --model",
        ),
        (
            lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 and so on"),
            "a JPEG picture; the .tflite file comes before the",
        ),
        (lambda path: path.write_text("a long enough text file"), "is not a TFLite model"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "model.tflite")
    with pytest.raises(ArtifactError, match=message):
        open_artifact(tmp_path / "model.tflite")


def test_has_card(artifact_path: Path) -> None:
    assert has_card(artifact_path)
    assert not has_card(artifact_path.with_name("missing.tflite"))
