"""A model is hashed while the rest of a start goes on, and what was hashed is what is opened."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from edge_runtime import ArtifactError, hashing
from edge_runtime.artifact import open_artifact
from edge_runtime.hashing import BackgroundHash, begin, hash_of
from tests.conftest import run_command
from tests.edge_runtime.tiny_model import tiny_artifact


@pytest.fixture(autouse=True)
def nothing_begun(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, ...], BackgroundHash]:
    begun: dict[tuple[int, ...], BackgroundHash] = {}
    monkeypatch.setattr(hashing, "_begun", begun)
    return begun


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_artifact().write(tmp_path / "tiny.none.tflite")


def flatbuffer_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return min(member.header_offset for member in archive.infolist())


def test_the_first_bytes_alone_are_hashed(artifact: Path) -> None:
    assert hash_of(artifact, 100).hexdigest() == hashlib.sha256(artifact.read_bytes()[:100]).hexdigest()


def test_what_was_begun_is_taken_once(artifact: Path, nothing_begun: dict[tuple[int, ...], BackgroundHash]) -> None:
    begin(["--json", "missing.tflite", str(artifact.parent), str(artifact), "photo.jpg"])
    (begun,) = nothing_begun.values()
    taken = hash_of(artifact, flatbuffer_bytes(artifact))
    assert taken is begun
    assert taken.hexdigest() == open_artifact(artifact).card.sha256["flatbuffer"]
    assert not nothing_begun
    assert hash_of(artifact, flatbuffer_bytes(artifact)) is not begun


@pytest.mark.parametrize("by", ["another file", "a write"])
def test_a_file_that_changes_meanwhile_is_hashed_again(artifact: Path, by: str) -> None:
    """As long, of the same date, and damaged."""
    begin([str(artifact)])
    before, damaged = artifact.stat(), bytearray(artifact.read_bytes())
    damaged[60] ^= 1
    if by == "another file":
        artifact.with_suffix(".new").write_bytes(damaged)
        shutil.move(artifact.with_suffix(".new"), artifact)
    else:
        artifact.write_bytes(damaged)
    os.utime(artifact, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtifactError, match="flatbuffer"):
        open_artifact(artifact)


@pytest.mark.parametrize(
    "content",
    [b"", b"TFL3", bytes(100), b"PK\x05\x06" + b"\xff" * 18, b"PK\x05\x06" + bytes(18)],
    ids=["empty", "short", "zeros", "a directory beyond the end", "a directory that is none"],
)
def test_what_is_no_artifact_is_left_to_whoever_opens_it(
    content: bytes, tmp_path: Path, nothing_begun: dict[tuple[int, ...], BackgroundHash]
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    begin(["\0", str(path)])
    assert not nothing_begun


def test_a_first_entry_that_lies_beyond_the_file_does_no_harm(artifact: Path) -> None:
    damaged = bytearray(artifact.read_bytes())
    directory = int.from_bytes(damaged[-6:-2], "little")
    damaged[directory + 42 : directory + 46] = b"\xff\xff\xff\x7f"
    artifact.write_bytes(damaged)
    begin([str(artifact)])
    with pytest.raises(ArtifactError):
        open_artifact(artifact)


def test_the_installed_command_refuses_a_damaged_model_that_it_began_to_hash(artifact: Path, tmp_path: Path) -> None:
    damaged = bytearray(artifact.read_bytes())
    damaged[60] ^= 1
    artifact.write_bytes(damaged)
    done = run_command("irv2-predict", artifact, tmp_path / "photo.png")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "flatbuffer" in done.err
