"""`irv2-drift` with stored answers: what they replace, and which are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.drift import stored_predictions
from convert.drift.predictions import Predictions
from convert.images.dataset import find_images
from edge_runtime import InputSpec
from edge_runtime.conventions import fitted
from tests.conftest import run_command
from tests.convert.drift.commands import copied, gate, refused, report_of
from tests.convert.drift.predictors import FakePredictor
from tests.edge_runtime.tiny_model import SPEC, tiny_artifact


def test_a_stored_reference_is_the_network(network: Path, worse: Path, reference: Path, images: Path) -> None:
    for candidate in (network, worse):
        by_network, by_file = (
            report_of(gate(candidate, "--reference", side, "--images", images, "--no-stop-early", "--json"))
            for side in (network, reference)
        )
        assert by_network["drift"] == by_file["drift"]
        assert by_network["gate"] == by_file["gate"]
        assert by_network["reference"]["model_sha256"] == by_file["reference"]["model_sha256"]


def test_saving_and_gating_go_together(network: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    done = gate(network, "--reference", network, "--images", images, "--save-reference", path, "--max-drop", 5)
    assert done.exit_code == 0
    assert len(stored_predictions.load(path).images) == 180, "an early end of the gate is none of the reference"


def test_a_candidate_that_only_the_settings_name_is_not_judged_when_a_reference_is_saved(
    network: Path, worse: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "irv2.toml").write_text(
        f'artifact = "{worse}"\nvalidation = "{images}"\nreference = "{network}"\n[drift]\nhtml = "drift.html"\n'
    )
    monkeypatch.chdir(tmp_path)
    done = gate("--save-reference", "ref.npz")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-2:] == [
        f"ref.npz: answers of {network} to 180 images",
        f"--save-reference only saves: irv2-drift without it judges {worse}; to judge it against these answers, "
        'write reference = "ref.npz" into the settings',
    ]
    assert not Path("drift.html").exists()
    assert gate(worse, "--save-reference", "ref.npz").exit_code == 3, "one that is typed is judged"
    assert gate("--reference", "ref.npz").exit_code == 3


def test_a_part_of_the_folder_may_be_stored(network: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    gate("--save-reference", path, "--reference", network, "--images", images, "--images-size", 50)
    arguments = (network, "--reference", path, "--images", images)
    assert gate(*arguments, "--images-size", 50).exit_code == 4
    assert gate(*arguments, "--images-size", 20).exit_code == 4
    assert "is not among its 50 images" in refused(*arguments)


def test_a_reference_must_be_known_by_its_name(network: Path, images: Path, tmp_path: Path) -> None:
    message = refused("--save-reference", tmp_path / "ref.bin", "--reference", network, "--images", images)
    assert "ref.bin must end in .npz" in message
    assert not list(tmp_path.iterdir())


def change(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "red" / "007.png")


def remove(folder: Path) -> None:
    (folder / "red" / "007.png").unlink()


def add(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "red" / "new.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change, "image red/007.png has changed"),
        (remove, "image red/007.png is missing"),
        (add, "red/new.png is not among its 180 images"),
    ],
)
def test_other_images_are_refused_by_name(
    network: Path, reference: Path, images: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = copied(images, tmp_path / "images")
    spoil(folder)
    line = refused(network, "--reference", reference, "--images", folder)
    assert message in line
    assert str(reference) in line


def test_an_unreadable_image_is_skipped_on_both_sides(network: Path, images: Path, tmp_path: Path) -> None:
    folder = copied(images, tmp_path / "images")
    (folder / "red" / "007.png").write_text("no picture")
    path = tmp_path / "ref.npz"
    assert gate("--save-reference", path, "--reference", network, "--images", folder).exit_code == 0
    done = gate(network, "--reference", path, "--images", folder, "--no-stop-early", "--json")
    report = report_of(done)
    assert (report["drift"]["images"], report["sampling"]["available"], report["sampling"]["unreadable"]) == (
        179,
        180,
        1,
    )
    assert "007.png" in done.stderr


def test_other_preprocessing_is_refused_unless_it_is_stated(reference: Path, images: Path, tmp_path: Path) -> None:
    spec = InputSpec(8, 8, (127.5, 127.5, 127.5), (100.0, 127.5, 127.5))
    other = tiny_artifact(spec=spec).write(tmp_path / "other.tflite")
    arguments = (other, "--reference", reference, "--images", images, "--max-drop", 5)
    line = refused(*arguments)
    assert "std [127.5, 127.5, 127.5]" in line
    assert "std [100.0, 127.5, 127.5]" in line
    assert gate(*arguments, "--reference-preprocessing", "tf").exit_code == 0
    assert "--reference-preprocessing" in refused(*arguments, "--reference-preprocessing", "none")


def test_pictures_fitted_otherwise_are_refused_in_the_words_of_the_option(
    reference: Path, images: Path, tmp_path: Path
) -> None:
    other = tiny_artifact(spec=fitted(SPEC, "crop:0.875")).write(tmp_path / "other.tflite")
    line = refused(other, "--reference", reference, "--images", images)
    assert f"{reference} was saved with --fit stretch, {other} has --fit crop:0.875: convert the candidate as" in line


def test_jpegs_decoded_otherwise_are_refused_unless_it_is_stated(
    network: Path, reference: Path, images: Path, tmp_path: Path
) -> None:
    other = tiny_artifact(spec=replace(SPEC, decode="scaled")).write(tmp_path / "other.tflite")
    line = refused(other, "--reference", reference, "--images", images)
    assert f"{reference} was saved with decode full, {other} has decode scaled: convert the candidate as" in line
    limits = ("--images", images, "--max-drop", 5)
    assert gate(other, "--reference", reference, *limits, "--reference-preprocessing", "tf").exit_code == 0

    path = tmp_path / "scaled.npz"
    assert gate("--save-reference", path, "--reference", other, "--images", images).exit_code == 0
    assert stored_predictions.load(path).spec.decode == "scaled"
    assert header_of(path)["version"] == 2, "what readers of version 1 refuse"
    assert header_of(reference)["version"] == 1
    assert gate(other, "--reference", path, *limits).exit_code == 0
    assert "decode scaled" in refused(network, "--reference", path, "--images", images)


def test_other_classes_are_refused(network: Path, reference: Path, images: Path, bare: Path, tmp_path: Path) -> None:
    names = tmp_path / "other.txt"
    names.write_text("red\ngreen\nviolet\n")
    line = refused(*(bare, "--reference", reference, "--images", images), "--preprocessing", "tf", "--labels", names)
    assert "different labels, only one of them has 'blue'" in line


def test_another_number_of_classes_is_refused(network: Path, images: Path, tmp_path: Path) -> None:
    found = find_images(images)
    rows, labels = np.full((len(found), 2), 0.5, np.float32), ("red", "blue")
    path = tmp_path / "two.npz"
    stored_predictions.save(path, Predictions(found.paths, rows, labels), found, FakePredictor([], labels=labels))
    line = refused(network, "--reference", path, "--images", images)
    assert f"reference {path} has 2 classes, {network} has 3" in line


def rewritten(reference: Path, path: Path, **changed: Any) -> Path:
    """The reference with other arrays."""
    with np.load(reference) as arrays:
        np.savez(path, **{**arrays, **changed})  # type: ignore[arg-type]
    return path


def header_of(reference: Path) -> dict[str, Any]:
    with np.load(reference) as arrays:
        return dict(json.loads(arrays["header"].tobytes()))


def with_header(reference: Path, path: Path, **changed: Any) -> Path:
    header = header_of(reference) | changed
    return rewritten(reference, path, header=np.frombuffer(json.dumps(header).encode(), np.uint8))


def flipped_byte(reference: Path, path: Path) -> Path:
    content = bytearray(reference.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def cut(reference: Path, path: Path) -> Path:
    path.write_bytes(reference.read_bytes()[:-100])
    return path


def pickled(reference: Path, path: Path) -> Path:
    """A pickle that leaves a trace when it is loaded."""
    return rewritten(reference, path, probabilities=np.array([Trace(path.with_name("trace"))], object))


class Trace:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


DAMAGES: dict[str, Callable[[Path, Path], Path]] = {
    "no zip": lambda _, path: (path.write_bytes(b"no reference") and path) or path,
    "empty": lambda _, path: (path.write_bytes(b"") and path) or path,
    "cut": cut,
    "flipped byte": flipped_byte,
    "pickle": pickled,
    "without header": lambda reference, path: (np.savez(path, probabilities=np.zeros((1, 3))), path)[1],
    "other answers": lambda reference, path: rewritten(reference, path, probabilities=np.zeros((180, 3), np.float32)),
    "other labels": lambda reference, path: with_header(reference, path, labels=["x", "y", "z"]),
    "other format": lambda reference, path: with_header(reference, path, format="else"),
    "header of a list": lambda reference, path: rewritten(reference, path, header=np.frombuffer(b"[]", np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_references_are_refused(
    network: Path, reference: Path, images: Path, tmp_path: Path, damage: str
) -> None:
    path = DAMAGES[damage](reference, tmp_path / "damaged.npz")
    line = refused(network, "--reference", path, "--images", images)
    assert f"reference {path} is damaged" in line
    assert "save it again" in line
    assert [found.name for found in tmp_path.iterdir()] == ["damaged.npz"], "nothing in the file was run"


def test_a_newer_format_is_named(network: Path, reference: Path, images: Path, tmp_path: Path) -> None:
    newer = with_header(reference, tmp_path / "newer.npz", version=9)
    assert "format version 9" in refused(network, "--reference", newer, "--images", images)


def test_a_missing_reference_says_how_to_make_one(network: Path, images: Path, tmp_path: Path) -> None:
    line = refused(network, "--reference", tmp_path / "no.npz", "--images", images)
    assert f"write it with --save-reference {tmp_path / 'no.npz'}" in line


def test_no_tensorflow_is_needed(network: Path, reference: Path, images: Path) -> None:
    """In a process of its own: what it imported."""
    code = (
        "import sys; from convert.cli.drift import drift\n"
        "try: drift(sys.argv[1:], standalone_mode=True)\n"
        "finally: print({m for m in ('tensorflow', 'keras', 'litert_quantizer') if m in sys.modules}, file=sys.stderr)"
    )
    done = run_command("python", "-c", code, network, "--reference", reference, "--images", images, "--max-drop", 5)
    assert (done.code, done.err.splitlines()[-1]) == (0, "set()")
