"""`irv2-convert verify`: the same inputs give the same bytes, and whoever changed one is told which."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from convert.cli.convert import convert
from convert.tflite import artifact_writer
from edge_runtime.artifact import open_artifact
from tests.edge_runtime.tiny_model import tiny_artifact
from tests.interrupted.conftest import given
from tests.interrupted.harness import Command, Run, finish


def verified(artifact: Path, *options: object) -> tuple[Result, dict[str, Any]]:
    """The command in this process, and the JSON it printed if it did."""
    run = CliRunner().invoke(convert, ["verify", *map(str, (artifact, *options)), "--json"])
    assert run.exception is None or isinstance(run.exception, SystemExit), run.exception
    return run, dict(json.loads(run.stdout)) if run.stdout else {}


def states(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in found["inputs"]}


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(
    conversion: Command, converted: Run, tiny_sources: Path, tmp_path: Path
) -> None:
    """In another process, with another hash seed, from another folder, by copies with other dates."""
    copies = shutil.copytree(tiny_sources, tmp_path / "copies", copy_function=shutil.copyfile)
    for path in copies.rglob("*.*"):
        os.utime(path, (10**9, 10**9))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "out").mkdir()
    relative = [
        os.path.relpath(each, tmp_path / "elsewhere") if isinstance(each, Path) else each for each in given(copies)
    ]
    command = Command(
        conversion.name, (*relative, *conversion.arguments[len(relative) :], "--output-dir", "out"),
        {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}, tmp_path / "elsewhere",
    )  # fmt: skip
    run = finish(command, tmp_path / "elsewhere" / "out")
    assert run.code == 0, run.err
    ours, theirs = (folder / "tiny.int8.tflite" for folder in (converted.folder, run.folder))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_unchanged_sources_give_the_artifact_again(converted: Run, tiny_sources: Path, tmp_path: Path) -> None:
    artifact = converted.folder / "tiny.int8.tflite"
    command = Command("irv2-convert", ("verify", artifact, *given(tiny_sources)), {"TMPDIR": str(tmp_path)})
    run = finish(command, tmp_path)
    assert run.code == 0, run.err
    lines = run.out.splitlines()
    assert lines[0] == f"{artifact}: checksums of flatbuffer, labels and card hold"
    assert lines[-1] == "built again: identical, byte for byte"
    assert sum(line.rstrip().endswith(" same") for line in lines) >= 15
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_rebuild_that_differs_names_the_parts(converted: Run, tiny_sources: Path, tmp_path: Path) -> None:
    """As after an edit of our own code, which no card records."""
    original = converted.folder / "tiny.int8.tflite"
    opened = open_artifact(original)
    drift = {**opened.card.drift, "sqnr_db": 1.0}  # type: ignore[dict-item]
    changed = artifact_writer.Package(
        original.read_bytes()[: opened.flatbuffer_bytes], opened.labels, replace(opened.card, drift=drift)
    )
    artifact_writer.write(changed, tmp_path / "tiny.int8.tflite")
    run, found = verified(tmp_path / "tiny.int8.tflite", *given(tiny_sources))
    assert run.exit_code == 3, run.stderr
    assert (found["rebuilt"], found["identical"], found["changed"]) == (True, False, [])
    assert found["differences"] == ["card: drift.sqnr_db"]


@pytest.mark.slow
def test_the_input_that_changed_is_named(converted: Run, tiny_sources: Path, tmp_path: Path) -> None:
    """One at a time; nothing is built again then."""
    artifact = converted.folder / "tiny.int8.tflite"
    sources = shutil.copytree(tiny_sources, tmp_path / "sources")

    def found_changed(*options: object) -> list[str]:
        run, found = verified(artifact, *given(sources), *options)
        assert run.exit_code == (3 if found["changed"] else 0), run.stderr
        assert found["rebuilt"] is not bool(found["changed"])
        return list(found["changed"])

    (sources / "mean.json").write_text(json.dumps({"mean": [127.5] * 3, "std": [128.0] * 3}))
    assert found_changed("--preprocessing", sources / "mean.json") == ["preprocessing"]
    (sources / "labels.txt").write_text("blue\nred\ngreen\n")
    assert found_changed() == ["labels"]
    shutil.copy(tiny_sources / "labels.txt", sources)
    picture = sources / "calibration" / "red" / "001.png"
    kept = picture.read_bytes()
    Image.open(picture).rotate(90).save(picture)
    assert found_changed() == ["calibration"]
    picture.write_bytes(kept)
    (sources / "validation" / "red" / "001.png").unlink()
    assert found_changed() == ["validation"]
    with zipfile.ZipFile(sources / "tiny.keras", "a") as archive:
        archive.comment = b"touched"
    assert found_changed() == ["weights", "validation"]


def test_what_is_not_given_is_not_compared(converted: Run, tiny_sources: Path) -> None:
    run, found = verified(converted.folder / "tiny.int8.tflite", "--labels", tiny_sources / "labels.txt")
    assert run.exit_code == 0, run.stderr
    assert found["rebuilt"] is False
    assert states(found)["labels"] == "same"
    assert {states(found)[name] for name in ("weights", "calibration", "validation")} == {"not given"}


def test_sources_without_their_images_are_compared_and_the_missing_options_named(
    converted: Run, tiny_sources: Path
) -> None:
    """It cannot be built again without them, and that is no error."""
    options = ("--model", tiny_sources / "tiny.keras", "--labels", tiny_sources / "labels.txt")
    run, found = verified(converted.folder / "tiny.int8.tflite", *options)
    assert run.exit_code == 0, run.stderr
    assert states(found)["weights"] == "same"
    assert found["rebuilt"] is False
    line = ["verify", str(converted.folder / "tiny.int8.tflite"), *map(str, options)]
    assert CliRunner().invoke(convert, line).stdout.splitlines()[-1] == (
        "nothing that was given has changed; not built again: pass --calibration, --validation as well"
    )


def test_other_versions_and_processors_are_changes(converted: Run, tiny_sources: Path, tmp_path: Path) -> None:
    opened = open_artifact(converted.folder / "tiny.int8.tflite")
    build = opened.card.source["build"]
    machine = {**build["machine"], "processor": "riscv64 other"}
    card = replace(
        opened.card,
        versions={**opened.card.versions, "numpy": "0.9"},
        source={**opened.card.source, "build": {**build, "machine": machine}},
    )
    flatbuffer = opened.path.read_bytes()[: opened.flatbuffer_bytes]
    artifact_writer.write(artifact_writer.Package(flatbuffer, opened.labels, card), tmp_path / "tiny.int8.tflite")
    run, found = verified(tmp_path / "tiny.int8.tflite", *given(tiny_sources))
    assert run.exit_code == 3
    assert found["changed"] == ["processor", "numpy"]


def test_without_sources_the_hashes_alone_are_checked(tmp_path: Path) -> None:
    artifact = tiny_artifact().write(tmp_path / "tiny.none.tflite")
    run, found = verified(artifact)
    assert run.exit_code == 0, run.stderr
    assert (found["rebuilt"], found["inputs"]) == (False, [])


@pytest.mark.parametrize("part", ["flatbuffer", "labels", "card"])
def test_a_damaged_part_is_named(part: str, tmp_path: Path) -> None:
    sound = tiny_artifact()
    damaged = {
        "flatbuffer": replace(sound, flatbuffer=sound.flatbuffer[:-1] + bytes([sound.flatbuffer[-1] ^ 1])),
        "labels": replace(sound, labels=sound.labels.upper()),
        "card": replace(sound, card=replace(sound.card, name="other")),
    }[part]
    run, _ = verified(damaged.write(tmp_path / "tiny.none.tflite"))
    assert run.exit_code == 1
    assert f"checksum of the {part} does not match" in run.stderr


def test_a_card_from_before_says_so(tmp_path: Path, tiny_sources: Path) -> None:
    run, _ = verified(tiny_artifact().write(tmp_path / "tiny.none.tflite"), "--model", tiny_sources / "tiny.keras")
    assert run.exit_code == 1
    assert run.stderr.splitlines()[-1].endswith(
        "does not say how it was made, as those of earlier versions: convert it again"
    )


def test_sizes_without_a_network_are_wrong_usage(tmp_path: Path) -> None:
    run, _ = verified(tiny_artifact().write(tmp_path / "tiny.none.tflite"), "--classes", 3)
    assert run.exit_code == 2
    assert "--classes goes with --model or --weights" in run.stderr
