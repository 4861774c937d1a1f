"""`irv2-drift --dry-run`: what it says, and that nothing is judged or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Finished, run_command, save_colour_pictures
from tests.convert.cli.commands import run_here
from tests.edge_runtime.tiny_model import tiny_artifact, tiny_flatbuffer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a candidate, its reference, images, and a settings file that names them."""
    tiny_artifact().write(tmp_path / "mine.int8.tflite")
    tiny_artifact().write(tmp_path / "mine.none.tflite")
    save_colour_pictures(tmp_path / "photos", 4, seed=1)
    (tmp_path / "irv2.toml").write_text(
        'artifact = "mine.int8.tflite"\nreference = "mine.none.tflite"\nvalidation = "photos"\n'
        'max-drop = 1\nno-thumbnails = true\n[drift]\nstop-early = false\njunit = "drift.xml"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(finished: Finished) -> dict[str, list[str]]:
    """What is said of each option: key -> value and where it is from."""
    rows = (line.split() for line in finished.out.split("\n\n")[0].splitlines())
    return {key: rest for key, *rest in rows}


def what(finished: Finished) -> list[str]:
    return finished.out.split("\n\n")[1].splitlines()


def test_it_says_where_each_value_is_from_and_what_would_be_done(project: Path) -> None:
    before = sorted(project.iterdir())
    finished = run_command("irv2-drift", "--dry-run", "--min-agreement", 90, cwd=project)
    assert (finished.code, finished.err) == (0, "settings of irv2.toml\n")
    said = values(finished)
    assert said["artifact"] == ["mine.int8.tflite", "irv2.toml"]
    assert said["images"] == ["photos", "irv2.toml"]
    assert said["max-drop"] == ["1.0", "irv2.toml"]
    assert said["min-agreement"] == ["90.0", "option"]
    assert said["no-thumbnails"] == ["yes", "irv2.toml"]
    assert said["stop-early"] == ["no", "irv2.toml"]
    assert said["device"] == said["labels"] == ["-", "default"]
    assert what(finished) == [
        "images:      12 images of photos",
        "reference:   mine.none.tflite, an artifact of scheme none, 3 classes",
        "candidate:   mine.int8.tflite, an artifact of scheme none, 3 classes",
        "warning:     the reference is the candidate itself, so nothing is compared: pass the float network",
        "would judge: mine.int8.tflite on 12 images",
        "would write: drift.xml",
    ]
    assert sorted(project.iterdir()) == before


def test_saving_a_reference_alone_is_all_that_would_be_done(project: Path) -> None:
    said = what(run_here("irv2-drift", "--dry-run", "--save-reference", "ref.npz"))
    assert said[1:] == [
        "reference:   mine.none.tflite, an artifact of scheme none, 3 classes",
        "would write: ref.npz, the answers of mine.none.tflite to 12 images",
    ]
    assert not (project / "ref.npz").exists()
    assert run_here("irv2-drift", "--save-reference", "ref.npz").code == 0
    stored = run_here("irv2-drift", "--dry-run", "--reference", "ref.npz", "--stop-early")
    assert "reference:   ref.npz, stored answers to 12 images" in what(stored)
    assert "would judge: mine.int8.tflite on 12 images, or fewer if that is certain" in what(stored)


def test_a_network_that_would_be_lowered_is_not(project: Path, small_model: Path) -> None:
    said = what(run_here("irv2-drift", "--dry-run", "--reference", small_model))
    assert said[1] == f"reference:   {small_model}, lowered by TensorFlow first"


def test_devices_and_parts_are_named(project: Path) -> None:
    finished = run_here("irv2-drift", "--dry-run", "--device", "ssh://pi@a", "--device", "ssh://pi@b:22")
    assert values(finished)["device"] == ["ssh://pi@a,", "ssh://pi@b:22", "option"]
    assert "would judge: mine.int8.tflite on 12 images, answered by ssh://pi@a, ssh://pi@b:22" in what(finished)
    part = run_here("irv2-drift", "--dry-run", "--shard", "2/3")
    assert what(part)[-1] == "would write: drift.2-of-3.json, part 2/3 of 12 images", "and no junit, as irv2.toml says"
    refused = run_here("irv2-drift", "--dry-run", "--shard", "2/3", "--junit", "x.xml")
    assert (refused.code, "--shard does not go with --junit" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "nowhere"], "image folder nowhere does not exist"),
        (["other.tflite"], "model other.tflite does not exist"),
        (["bare.tflite"], "bare.tflite"),
        (["--reference", "other.npz"], "reference other.npz does not exist"),
        (["--save-reference", "ref.bin"], "--save-reference ref.bin must end in .npz"),
        (["--html", "irv2.toml/page.html"], "irv2.toml/page.html cannot be written: Not a directory"),
    ],
)
def test_what_cannot_work_is_the_error_of_the_run(project: Path, options: list[str], message: str) -> None:
    (project / "bare.tflite").write_bytes(tiny_flatbuffer())
    dry, real = run_here("irv2-drift", *options, "--dry-run"), run_here("irv2-drift", *options)
    assert (dry.code, real.code) == (1, 1)
    assert dry.err == real.err
    assert message in dry.err.splitlines()[-1]
    assert values(dry)["reference"], "after it has said where each value is from"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_settings_that_would_compare_a_file_with_itself_are_refused(project: Path, options: tuple[str, ...]) -> None:
    """Such a gate would be green for ever; whoever types it is warned."""
    settings = project / "irv2.toml"
    settings.write_text(settings.read_text().replace("mine.none", "mine.int8"))
    done = run_command("irv2-drift", *options, cwd=project)
    assert done.code == 1
    assert "irv2.toml: reference mine.int8.tflite is the candidate itself" in done.err.splitlines()[-1]
    typed = run_command("irv2-drift", "--reference", "mine.int8.tflite", *options, cwd=project)
    assert "the reference is the candidate itself" in typed.out


def test_a_geometry_that_the_reference_contradicts_is_said_when_it_is_stored(project: Path) -> None:
    (project / "irv2.toml").write_text('reference = "mine.none.tflite"\nvalidation = "photos"\nfit = "torchvision"\n')
    done = run_command("irv2-drift", "--save-reference", "ref.npz", cwd=project)
    assert done.code == 0, done.err
    assert done.err.splitlines()[-1].startswith(
        "warning: mine.none.tflite says itself that pictures are fitted by stretch, and so they were: --fit torchvision"
    )
