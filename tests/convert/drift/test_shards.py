"""A run in parts is the run of one process: same figures, same verdict, nothing lost, nothing counted twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.drift.shards import Share
from convert.errors import SourceError
from tests.conftest import save_colour_pictures
from tests.convert.drift.commands import gate, refused, report_of
from tests.edge_runtime.tiny_model import tiny_artifact, tiny_flatbuffer


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_colour_pictures(tmp_path_factory.mktemp("shards") / "images", 15, seed=3)
    (folder / "red" / "003.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact().write(tmp_path_factory.mktemp("network") / "float.tflite")


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees more red than there is."""
    from dataclasses import replace

    artifact = replace(tiny_artifact(), flatbuffer=tiny_flatbuffer(bias=1.1)).signed()
    return artifact.write(tmp_path_factory.mktemp("candidate") / "biased.tflite")


@pytest.fixture(scope="module")
def alone(candidate: Path, network: Path, images: Path) -> dict[str, Any]:
    """The report of one process."""
    return report_of(gate(candidate, "--reference", network, "--images", images, "--no-stop-early", "--json"))


@pytest.fixture(scope="module")
def shards(candidate: Path, network: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rows")
    paths = [folder / f"{number}.json" for number in (1, 2, 3, 4)]
    for number, path in enumerate(paths, 1):
        done = gate(candidate, "--reference", network, "--images", images, "--shard", f"{number}/4", "--rows", path)
        assert done.exit_code == 0, done.output
        assert done.stdout == ""
    return paths


@given(st.integers(1, 50), st.integers(0, 300))
def test_shares_are_a_partition(count: int, total: int) -> None:
    positions = [i for number in range(1, count + 1) for i in Share(number, count).positions(total)]
    assert positions == list(range(total))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "x/4", "4", "1/", "-1/4", "1/4/2"])
def test_no_part_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="pass K/N"):
        Share.parse(text)


def test_merged_shards_are_the_run_of_one_process(shards: list[Path], alone: dict[str, Any]) -> None:
    done = gate("merge", *reversed(shards), "--json")
    merged = report_of(done)
    assert 0 < len(alone["drift"]["flips"]) < 44, "the case itself"
    for part in ("artifact", "reference", "sampling", "drift", "gate"):
        assert merged[part] == alone[part]
    assert done.exit_code == 3


def test_merging_has_limits_of_its_own(shards: list[Path]) -> None:
    assert gate("merge", *shards, "--max-drop", 100, "--min-agreement", 0).exit_code == 0


def test_a_shard_has_a_name_without_being_asked(
    candidate: Path, network: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gate(candidate, "--reference", network, "--images", images, "--shard", "2/4").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["drift.2-of-4.json"]


def test_more_shards_than_images_are_fine(candidate: Path, network: Path, images: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(1, 16)]
    few = (candidate, "--reference", network, "--images", images, "--images-size", 12)
    for number, path in enumerate(paths, 1):
        assert gate(*few, "--shard", f"{number}/15", "--rows", path).exit_code == 0
    merged = report_of(gate("merge", *paths, "--json"))
    assert merged["drift"] == report_of(gate(*few, "--no-stop-early", "--json"))["drift"]


def test_unreadable_images_are_judged_of_all_shards_together(
    candidate: Path, network: Path, images: Path, tmp_path: Path
) -> None:
    """Of 3 images 1 cannot be read: too many, but no shard knows that."""
    few = (candidate, "--reference", network, "--images", images, "--images-size", 3)
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    for number, path in enumerate(paths, 1):
        assert gate(*few, "--shard", f"{number}/2", "--rows", path).exit_code == 0
    assert refused("merge", *paths) == refused(*few, "--no-stop-early")
    assert "1 of 3 images" in refused("merge", *paths)


def changed(shard: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    value = json.loads(shard.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return path


def test_overlapping_and_missing_shards_are_refused_by_name(shards: list[Path], tmp_path: Path) -> None:
    copy = changed(shards[1], tmp_path / "copy.json", lambda shard: None)
    assert f"{shards[1]} and {copy} are both shard 2/4" in refused("merge", *shards, copy)
    assert "shard 3/4 is missing" in refused("merge", shards[0], shards[1], shards[3])


@pytest.mark.parametrize("part", ["candidate", "reference", "images", "version"])
def test_shards_of_other_runs_are_refused_by_name(shards: list[Path], tmp_path: Path, part: str) -> None:
    def change(shard: dict[str, Any]) -> None:
        shard["run"][part] = "x" if part == "version" else {**shard["run"][part], "sha256": "0" * 64}

    foreign = changed(shards[2], tmp_path / "foreign.json", change)
    line = refused("merge", shards[0], shards[1], foreign, shards[3])
    assert f"{foreign} is a shard of another run than {shards[0]}, its {part} differs" in line


def test_shards_of_other_numbers_are_refused(
    candidate: Path, network: Path, images: Path, shards: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    gate(candidate, "--reference", network, "--images", images, "--shard", "2/2", "--rows", other)
    assert f"{other} is one of 2 shards" in refused("merge", shards[0], other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda shard: shard["images"].pop(),
        lambda shard: shard["images"].append(shard["images"][0]),
        lambda shard: shard["images"].reverse(),
        lambda shard: shard.update(reference=shard["reference"][:-16]),
        lambda shard: shard.update(candidate="!"),
        lambda shard: shard.update(format="else"),
        lambda shard: shard.pop("run"),
        lambda shard: shard.update(shard=[9, 4]),
        lambda shard: shard.update(shard=None),
    ],
)
def test_damaged_shards_are_refused_by_name(
    shards: list[Path], tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    path = changed(shards[0], tmp_path / "damaged.json", damage)
    assert str(path) in refused("merge", path, *shards[1:])


def test_cut_and_missing_files_are_refused(shards: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(shards[0].read_bytes()[:-40])
    assert f"{path} is not a complete shard" in refused("merge", path, *shards[1:])
    assert "no.json" in refused("merge", tmp_path / "no.json", *shards[1:])


def test_a_keras_reference_is_lowered_once(candidate: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "x.keras").write_text("")
    line = refused(
        *(candidate, "--reference", tmp_path / "x.keras", "--images", images), "--shard", "1/2", "--preprocessing", "tf"
    )
    assert "--save-reference" in line
