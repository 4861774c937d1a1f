"""The artifact: a flatbuffer that every runtime opens, a zip that every unzip opens, a card with the hashes of both."""

from __future__ import annotations

import ast
import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import example, given
from hypothesis import strategies as st

from convert.errors import ConvertError
from convert.tflite import artifact_writer
from convert.tflite.artifact_writer import Package
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.metadata import classifier_metadata
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import load_pixels
from tests.edge_runtime.tiny_model import LABELS, SPEC, expected_probabilities, tiny_artifact, tiny_flatbuffer


@pytest.fixture(scope="module")
def tiny() -> Package:
    return artifact_writer.package(tiny_flatbuffer(), LABELS, tiny_artifact().card)


@pytest.fixture
def written(tiny: Package, tmp_path: Path) -> Path:
    artifact_writer.write(tiny, tmp_path / "tiny.tflite")
    return tmp_path / "tiny.tflite"


def test_the_zip_holds_labels_and_card(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert archive.namelist() == ["metadata.json", "labels.txt", "card.json"]
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "red\ngreen\nblue\n"
        assert json.loads(archive.read("card.json"))["name"] == "tiny"
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}, "mapped, not inflated"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
@example(["T-shirt/top", 'Käfer "Bob"', "猫", "🐢", "a\\b", "\x00", "\u2028"])
def test_names_are_the_same_in_json_and_in_python(tiny: Package, labels: list[str]) -> None:
    """Ultralytics parses them as one or the other, depending on its release."""
    names = artifact_writer.class_names(labels, tiny.card).decode()
    assert json.loads(names) == ast.literal_eval(names)
    assert list(json.loads(names)["names"].values()) == labels


def test_strict_unzippers_find_the_members_where_the_directory_says(written: Path) -> None:
    """Offsets count from the beginning of the file, as they should in a zip with other data before it."""
    content = written.read_bytes()
    with zipfile.ZipFile(written) as archive:
        for member in archive.infolist():
            assert content[member.header_offset :][:4] == b"PK\x03\x04"
    directory_bytes, directory_at = struct.unpack_from("<II", content, content.rindex(b"PK\x05\x06") + 12)
    assert content[directory_at:][:4] == b"PK\x01\x02"
    assert directory_at + directory_bytes == content.rindex(b"PK\x05\x06")


def test_the_flatbuffer_comes_first_and_unchanged(tiny: Package, written: Path) -> None:
    content = written.read_bytes()
    assert content.startswith(tiny.flatbuffer)
    assert content[len(tiny.flatbuffer) :].startswith(b"PK\x03\x04")
    assert open_artifact(written).flatbuffer_bytes == len(tiny.flatbuffer)


def test_the_metadata_is_in_the_flatbuffer(tiny: Package) -> None:
    assert TfliteGraph(tiny.flatbuffer).metadata("TFLITE_METADATA") == classifier_metadata(tiny.card)


def test_operators_are_named_in_the_field_of_older_readers_too(tiny: Package) -> None:
    """litert-quantizer leaves it empty, which readers that know no other field take for ADD."""
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(tiny.flatbuffer))
    named = [code.builtinCode for code in content.operatorCodes]
    for code in content.operatorCodes:
        code.deprecatedBuiltinCode = 0
    content.operatorCodes[0].builtinCode = 150  # of those that do not fit into it
    emptied = bytes(flatbuffer_utils.convert_object_to_bytearray(content))
    again = artifact_writer.package(emptied, LABELS, tiny.card).flatbuffer
    codes = flatbuffer_utils.read_model_from_bytearray(bytearray(again)).operatorCodes
    assert [code.deprecatedBuiltinCode for code in codes] == [127, *named[1:]]
    assert [code.builtinCode for code in codes] == [150, *named[1:]]


def test_packaging_again_replaces_the_metadata(tiny: Package) -> None:
    again = artifact_writer.package(tiny.flatbuffer, LABELS, tiny.card)
    assert TfliteGraph(again.flatbuffer).metadata("TFLITE_METADATA") == classifier_metadata(tiny.card)
    assert len(again.flatbuffer) < len(tiny.flatbuffer) + 2000


def test_interpreters_open_the_whole_file_and_answer_as_before(written: Path) -> None:
    pixels = load_pixels(np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8), SPEC)
    engine = RecordingEngine(written)
    (answer,) = engine.run(np.float32(pixels / 127.5 - 1)[np.newaxis])
    assert np.allclose(answer, expected_probabilities(pixels), atol=1e-6)
    with Classifier.open(written) as classifier:
        assert np.array_equal(classifier.probabilities(pixels)[0], answer)


def test_the_card_vouches_for_every_part(tiny: Package, written: Path) -> None:
    card = open_artifact(written).card
    assert card.sha256["flatbuffer"] == hashlib.sha256(tiny.flatbuffer).hexdigest()
    assert card.sha256["labels"] == hashlib.sha256(b"red\ngreen\nblue\n").hexdigest()
    assert card.sha256["card"] == card.own_sha256()


def test_the_returned_hash_is_the_files(tiny: Package, tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    assert artifact_writer.write(tiny, path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_writing_twice_gives_the_same_bytes(tiny: Package, written: Path, tmp_path: Path) -> None:
    artifact_writer.write(
        artifact_writer.package(tiny_flatbuffer(), LABELS, tiny_artifact().card), tmp_path / "again.tflite"
    )
    assert (tmp_path / "again.tflite").read_bytes() == written.read_bytes()


def test_another_process_another_day_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    """Neither the time of day nor the order of a hash table matters."""
    code = (
        "import sys; from pathlib import Path; from convert.tflite import artifact_writer\n"
        "from tests.edge_runtime import tiny_model\n"
        "tiny = tiny_model.tiny_artifact()\n"
        "artifact_writer.write(artifact_writer.package(tiny_model.tiny_flatbuffer(), tiny_model.LABELS, tiny.card), "
        "Path(sys.argv[1]))"
    )
    path, elsewhere = tmp_path / "other.tflite", {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, path], check=True, cwd=Path(__file__).parents[3], env=elsewhere)
    assert path.read_bytes() == written.read_bytes()


def test_only_the_drift_differs_after_measuring(tiny: Package, written: Path, tmp_path: Path) -> None:
    measured = tmp_path / "measured.tflite"
    artifact_writer.write(tiny.with_drift({"verdict": "pass", "images": 10}), measured)
    before, after = open_artifact(written), open_artifact(measured)
    assert after.card.drift == {"verdict": "pass", "images": 10}
    assert measured.read_bytes().startswith(tiny.flatbuffer)
    changed = {key for key, value in vars(after.card).items() if value != vars(before.card)[key]}
    assert changed == {"drift", "sha256"}
    assert {part for part in after.card.sha256 if after.card.sha256[part] != before.card.sha256[part]} == {"card"}


def test_labels_of_all_alphabets(tmp_path: Path) -> None:
    labels = ("T-shirt/top", "Käfer", "猫")
    artifact_writer.write(
        artifact_writer.package(tiny_flatbuffer(), labels, tiny_artifact().card), tmp_path / "tiny.tflite"
    )
    assert open_artifact(tmp_path / "tiny.tflite").labels == labels


def test_a_failed_write_leaves_the_earlier_artifact(
    tiny: Package, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(ConvertError, match=r"tiny\.tflite cannot be written: No space left on device"):
        artifact_writer.write(tiny, written)
    assert [path.name for path in written.parent.iterdir()] == ["tiny.tflite"]
    assert written.read_bytes() == before
