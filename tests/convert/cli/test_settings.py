"""`irv2.toml`: where it is found, what it may say, and what wins over it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from convert.cli import settings
from convert.cli.drift import drift
from tests.conftest import Finished, run_command
from tests.convert.cli.commands import run_here


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the working folder, and nobody's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, text: str) -> None:
    (folder / "irv2.toml").write_text(text)


def values(finished: Finished) -> dict[str, list[str]]:
    """What a dry run says of each option: key -> value and where it is from."""
    rows = (line.split() for line in finished.out.split("\n\n")[0].splitlines())
    return {key: rest for key, *rest in rows}


def test_options_win_over_the_file_and_the_file_over_defaults(project: Path) -> None:
    write(project, 'model = "demo"\nquantize = "float16"\nmax-drop = 1\nvalidation-size = "auto"\nno-cache = true')
    finished = run_here("irv2-convert", "--dry-run", "--quantize", "none")
    assert finished.code == 0, finished.err
    said = values(finished)
    assert said["quantize"] == ["none", "option"]
    assert said["max-drop"] == ["1.0", "irv2.toml"]
    assert said["no-cache"] == ["yes", "irv2.toml"]
    assert said["validation-size"] == ["auto", "irv2.toml"]
    assert said["min-agreement"] == ["95.0", "default"]
    assert said["no-thumbnails"] == ["no", "default"]
    assert said["labels"] == ["-", "default"]
    assert "would write: build/irv2-demo.none.tflite" in finished.out
    assert finished.err.splitlines()[0] == "settings of irv2.toml"


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        (["--quantize", "int8"], "ends uint8, or float32 where those would not be exact)"),
        (["--quantize", "int8", "--io", "uint8"], "ends uint8)"),
        (["--quantize", "float16"], "ends float32)"),
    ],
)
def test_a_dry_run_promises_no_ends_that_the_run_may_not_keep(project: Path, options: list[str], ends: str) -> None:
    finished = run_here("irv2-convert", "--model", "demo", "--dry-run", *options)
    assert finished.code == 0, finished.err
    assert finished.out.rstrip().endswith(ends)


def test_a_dry_run_says_which_classes_lack_a_folder(
    project: Path, calibration_folder: Path, validation_folder: Path
) -> None:
    (project / "labels.txt").write_text("red\ngreen\nblue\nviolet\n")
    images = ("--calibration", calibration_folder, "--validation", validation_folder)
    finished = run_here("irv2-convert", "--dry-run", "--model", "imagenet", "--labels", "labels.txt", *images)
    assert finished.code == 0, finished.err
    assert f"{validation_folder}: no folder for 1 of 4 labels: violet" in finished.out


def test_a_dry_run_fails_as_the_run_would_after_it_has_said_where_each_value_is_from(project: Path) -> None:
    write(project, 'model = "demo"\ncalibration = "nowhere"')
    finished = run_here("irv2-convert", "--dry-run")
    assert finished.code == 1
    assert values(finished)["calibration"] == ["nowhere", "irv2.toml"]
    wrong = "irv2.toml: calibration nowhere does not exist: name a folder of about 100 images"
    assert finished.err.splitlines()[-1] == f"irv2-convert: error: {wrong}"
    assert run_here("irv2-convert").err.splitlines()[-1] == f"irv2-convert: error: {wrong}"
    typed = run_here("irv2-convert", "--dry-run", "--calibration", "nowhere").err.splitlines()[-1]
    assert typed.startswith("irv2-convert: error: image folder nowhere does not exist"), "an option goes by its value"


def test_a_file_above_counts_and_its_paths_are_relative_to_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, calibration_folder: Path
) -> None:
    (project / "photos").symlink_to(calibration_folder)
    write(project, 'model = "demo"\ncalibration = "photos"')
    (project / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project / "a" / "b")
    finished = run_here("irv2-convert", "--dry-run")
    assert values(finished)["calibration"] == ["../../photos", "../../irv2.toml"]
    assert "calibration: 60 images of ../../photos" in finished.out
    assert finished.err.splitlines()[0] == "settings of ../../irv2.toml"


@pytest.mark.parametrize("end", ["repository", "home"])
def test_the_search_ends_with_the_project_and_with_the_home_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    write(project.parent, "max-drop = 1")
    if end == "home":
        monkeypatch.setenv("HOME", str(project))
    else:
        (project / ".git").write_text("gitdir: elsewhere")  # a worktree's
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert settings.find() is None
    write(project, "max-drop = 3")
    assert settings.find() == Path("../irv2.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max-drops = 2", "irv2.toml: max-drops is not a setting: did you mean max-drop?"),
        ("max_drop = 2", "irv2.toml: max_drop is not a setting: did you mean max-drop?"),
        ("xyzzy = 2", "irv2.toml: xyzzy is not a setting: irv2-convert init shows the usual ones"),
        ("as-json = true", "irv2.toml: as-json is not a setting"),
        ('max-drop = "much"', "irv2.toml: max-drop = 'much': 'much' is not a valid float range"),
        ("max-drop = 200", "irv2.toml: max-drop = 200: 200.0 is not in the range -100<=x<=100"),
        ("max-drop = true", "irv2.toml: max-drop = true is not a number"),
        ("model = 3", "irv2.toml: model = 3 is not a text: write it in quotes"),
        ('io = "uint9"', "irv2.toml: io = 'uint9': 'uint9' is not one of 'uint8', 'int8', 'float32'"),
        ('recover = "yes"', "irv2.toml: recover = 'yes' is neither true nor false"),
        ("calibration = []", "irv2.toml: calibration = [] is not a text"),
        ("[gate]\nmax-drop = 2", "irv2.toml: there is no table [gate], only [drift]"),
        ("drift = 2", "irv2.toml: drift = 2 is not a table"),
        ("max-drop = ", "irv2.toml is not TOML: Invalid value"),
        (
            "quantize = int8",
            "irv2.toml is not TOML: Invalid value (at line 1, column 12); texts and paths stand in quotes",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line(project: Path, text: str, expected: str) -> None:
    write(project, text)
    finished = run_here("irv2-convert", "--dry-run")
    assert finished.code == 1
    assert finished.out == ""
    assert len(finished.err.splitlines()) == 1
    assert finished.err.startswith(f"irv2-convert: error: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[drift]\nimage-size = 3", "irv2.toml: image-size is not a setting: did you mean images-size?"),
        ('[drift]\nimages-size = "many"', "irv2.toml: images-size = 'many': 'many' is not a valid integer range"),
        ("max-drops = 1", "irv2.toml: max-drops is not a setting: did you mean max-drop?"),
    ],
)
def test_a_mistake_in_what_irv2_drift_reads_is_one_line(project: Path, text: str, expected: str) -> None:
    write(project, text)
    finished = run_here("irv2-drift", "x.tflite", "--reference", "y.tflite", "--images", "z")
    assert finished.code == 1
    assert finished.err.startswith(f"irv2-drift: error: {expected}")
    assert len(finished.err.splitlines()) == 1


def test_another_file_and_none_at_all(project: Path) -> None:
    write(project, "no such syntax")
    (project / "other.toml").write_text('model = "demo"\nmax-drop = 1')
    other = run_here("irv2-convert", "--dry-run", "--config", "other.toml")
    assert values(other)["max-drop"] == ["1.0", "other.toml"]
    assert other.err.splitlines()[0] == "settings of other.toml"
    assert values(run_here("irv2-convert", "--dry-run", "--no-config"))["max-drop"] == ["2.0", "default"]
    missing = run_here("irv2-convert", "--dry-run", "--config", "missing.toml")
    assert missing.err.startswith("irv2-convert: error: missing.toml cannot be read (No such file or directory): pass ")


def test_other_commands_do_not_read_it(project: Path) -> None:
    write(project, "no such syntax")
    assert run_here("irv2-convert", "cache").code == 0
    assert run_here("irv2-convert", "--help").code == 0


def test_a_file_without_a_network_is_not_the_demo(project: Path) -> None:
    """A CI would pass without having looked at what it is there for."""
    write(project, "max-drop = 1")
    for options in ([], ["--quantize", "int8"], ["--dry-run"]):
        finished = run_here("irv2-convert", *options)
        assert finished.code == 1
        assert finished.err.startswith("irv2-convert: error: irv2.toml names no network: write model = 'PATH' into it")


def test_a_network_on_the_command_line_takes_the_place_of_the_file_s(project: Path) -> None:
    write(project, 'model = "mine.keras"')
    message = run_here("irv2-convert", "--weights", "other.weights.h5", "--preprocessing", "tf", "--dry-run").err
    assert "weights other.weights.h5 does not exist" in message
    write(project, 'weights = "mine.weights.h5"')
    assert run_here("irv2-convert", "--model", "demo", "--dry-run").code == 0


def test_without_anything_the_command_explains_itself(project: Path) -> None:
    finished = run_command("irv2-convert", cwd=project)
    assert finished.code == 2, "nothing was converted, so nobody's CI may pass"
    assert len(finished.err.splitlines()) < 10
    for text in ("--model mine.keras --labels labels.txt --calibration DIR --validation DIR", "init", "--model demo"):
        assert text in finished.err
    assert list(project.iterdir()) == []


def test_a_command_that_is_almost_one_is_named(project: Path) -> None:
    finished = run_here("irv2-convert", "compar", "a", "b")
    assert finished.code == 2
    assert finished.err.splitlines()[-1].endswith("did you mean compare?")


def test_a_network_without_its_option_is_told_where_it_belongs(project: Path) -> None:
    finished = run_here("irv2-convert", "mine.keras")
    assert finished.code == 2
    assert finished.err.splitlines()[-1].endswith(
        "is not a command (attach, cache, card, compare, completion, describe, "
        "init, verify): to convert it, pass --model mine.keras"
    )


def test_the_demo_that_nobody_named_is_named(project: Path) -> None:
    assert "no --model: this converts the bundled demo\n" in run_here("irv2-convert", "--dry-run").err
    assert "bundled demo" not in run_here("irv2-convert", "--dry-run", "--model", "demo").err
    assert run_here("irv2-convert", "--dry-run", "--quiet").err == ""


def test_a_broken_file_of_preprocessing_is_told_before_tensorflow_loads(project: Path, small_model: Path) -> None:
    (project / "mine.json").write_text(json.dumps({"mean": [1, 2, 3], "sdt": [1, 1, 1]}))
    finished = run_here("irv2-convert", "--model", small_model, "--preprocessing", "mine.json", "--dry-run")
    assert finished.code == 1
    assert finished.err.startswith("irv2-convert: error: --preprocessing mine.json does not describe")
    assert "'sdt' is none of" in finished.err


def test_a_ci_runs_the_commands_without_arguments(
    project: Path, small_model: Path, colour_labels: Path, calibration_folder: Path, validation_folder: Path
) -> None:
    """As a team has it: init writes the file, somebody fills in what only a person knows, and git has it."""
    shutil.copyfile(small_model, project / "mine.keras")
    shutil.copyfile(colour_labels, project / "labels.txt")
    (project / "photos").mkdir()
    (project / "photos" / "calibration").symlink_to(calibration_folder)
    (project / "photos" / "validation").symlink_to(validation_folder)
    assert run_command("irv2-convert", "init", cwd=project).code == 0
    text = (project / "irv2.toml").read_text()
    text = text.replace('# preprocessing = "tf"', 'preprocessing = "tf"').replace('"int8"', '"int8,none"')
    text = text.replace('reference = "mine.keras"', 'reference = "build/mine.none.tflite"')
    write(project, text.replace("# junit", "junit"))

    converted = run_command("irv2-convert", cwd=project)
    assert converted.code == 0, converted.err
    assert converted.err.splitlines()[0] == "settings of irv2.toml"
    next_step = converted.out.splitlines()[-1]
    assert next_step.startswith("next:   irv2-predict build/mine.int8.tflite photos/validation/")
    answered = run_command(*next_step.split()[1:], cwd=project)
    assert answered.code == 0, answered.err
    assert next_step.split("/")[-2] in answered.out, "the colour is the name of the folder"

    judged = run_command("irv2-drift", cwd=project)
    assert judged.code == 0, judged.err
    assert judged.out.startswith("pass on 240 images")
    assert (project / "drift.xml").exists()
    quiet = run_command("irv2-drift", "--quiet", "--max-drop", "-50", cwd=project)
    assert (quiet.code, quiet.err) == (3, "")
    assert re.fullmatch(
        r"build/mine\.int8\.tflite: fail on 240 images: top-1 drop .* at most -50\.00 pp allowed\n", quiet.out
    ), "an option wins"

    inspected = run_command("irv2-inspect", cwd=project / "photos")
    assert inspected.code == 0, inspected.err
    assert inspected.err == "artifact of irv2.toml: ../build/mine.int8.tflite\n"
    assert inspected.out.startswith("integer:")


def test_what_irv2_drift_shares_with_irv2_convert_goes_by_the_name_of_the_option(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the table for it says comes first."""
    write(project, """
        validation = "photos"
        artifact = "mine.tflite"
        reference = "ref.npz"
        no-thumbnails = true
        max-drop = 1
        min-agreement = 90
        [drift]
        max-drop = 3
        stop-early = false
        device = ["ssh://a", "ssh://b"]
    """)  # fmt: skip
    seen = handed(monkeypatch, "gate")
    assert (seen["candidate"], seen["images"], seen["reference"]) == tuple(
        map(Path, ("mine.tflite", "photos", "ref.npz"))
    )
    assert (seen["max_drop"], seen["min_agreement"], seen["stop_early"]) == (3, 90, False)
    assert seen["no_thumbnails"] is True
    assert seen["device"] == ("ssh://a", "ssh://b")
    assert handed(monkeypatch, "merge", "x.json")["max_drop"] == 3


def handed(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> dict[str, object]:
    """What a command of `irv2-drift` would be called with."""
    command, seen = drift.commands[name], dict[str, object]()
    monkeypatch.setattr(command, "invoke", lambda context: seen.update(context.params))
    assert run_here("irv2-drift", name, *arguments).code == 0
    return seen


def test_inspect_without_a_model_says_what_it_lacks(project: Path) -> None:
    assert "MODEL is missing: pass a .tflite, or name one as artifact in irv2.toml" in run_here("irv2-inspect").err
    write(project, "artifact = 3")
    finished = run_command("irv2-inspect", cwd=project)
    assert finished.code == 1
    assert finished.err == "irv2-inspect: error: irv2.toml: artifact = 3 is not a path: write it in quotes\n"


def test_the_keras_file_is_the_reference_where_none_is_named(project: Path, validation_folder: Path) -> None:
    write(project, f'model = "mine.keras"\nartifact = "mine.int8.tflite"\nvalidation = "{validation_folder}"')
    for name in ("mine.keras", "mine.int8.tflite"):
        (project / name).write_bytes(b"")
    assert "error: mine.int8.tflite" in run_here("irv2-drift").err, "it was opened, so nothing was missing"


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (
            "mine.int8.tflite",
            "artifact mine.int8.tflite does not exist: convert first, or name an artifact that git has",
        ),
        ("mine.keras", "reference mine.keras does not exist: store its answers where it is, with --save-reference"),
    ],
)
def test_what_the_file_names_and_is_not_there_goes_by_its_key(
    project: Path, validation_folder: Path, missing: str, expected: str
) -> None:
    write(project, f'model = "mine.keras"\nartifact = "mine.int8.tflite"\nvalidation = "{validation_folder}"')
    for name in {"mine.keras", "mine.int8.tflite"} - {missing}:
        (project / name).write_bytes(b"")
    finished = run_here("irv2-drift")
    assert finished.code == 1
    assert f"irv2-drift: error: irv2.toml: {expected}" in finished.err


def test_the_gate_without_a_reference_says_what_to_pass_or_to_write(project: Path) -> None:
    finished = run_here("irv2-drift", "mine.tflite")
    assert finished.code == 2
    assert "--reference is missing: pass the float network, or its stored answers (.npz), or write" in finished.err
