"""`irv2-predict`, as its user sees it: output, messages, exit codes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pty
import signal
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_runtime import Receipt
from edge_runtime.console import printable
from edge_runtime.predict import find_images
from edge_runtime.preprocess import SUPPORTED
from tests.edge_runtime.commands import command_line, environment, heeding_ctrl_c, predict
from tests.edge_runtime.conftest import COLOURS
from tests.edge_runtime.tiny_model import LABELS, SPEC, expected_probabilities, tiny_artifact


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def bad_picture(pictures: Path) -> Path:
    path = pictures / "bad.jpg"
    path.write_text("not a picture")
    return path


# What it sees


@pytest.mark.parametrize(
    ("decode", "label", "seen"), [("full", "red", (255, 0, 0)), ("scaled", "blue", (255 / 8, 0, 7 / 8 * 160))]
)
def test_a_large_photo_is_decoded_as_the_card_says(
    decode: str, label: str, seen: tuple[float, float, float], tmp_path: Path
) -> None:
    """Every eighth column is red, which is where "nearest" looks; at an eighth of its size there is their mean only."""
    pixels = np.full((256, 256, 3), (0, 0, 160), np.uint8)
    pixels[:, ::8] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "stripes.jpg", quality=100, subsampling=0)
    spec = replace(SPEC, resize="nearest", decode=decode)
    artifact = tiny_artifact(spec=spec).write(tmp_path / "tiny.tflite")

    (row,) = json_lines(predict(artifact, tmp_path / "stripes.jpg", "--json").stdout)

    best = row["predictions"][0]
    expected = expected_probabilities(np.full((8, 8, 3), seen))  # type: ignore[arg-type]
    assert best["label"] == label
    assert best["probability"] == pytest.approx(expected[LABELS.index(label)], abs=0.01)


# What it prints


def test_one_picture_is_a_table_with_a_receipt(artifact_path: Path, pictures: Path) -> None:
    done = predict(artifact_path, pictures / "green.png", "--engine", "litert", "--threads", 1)
    title, best, second, third, receipt = done.stdout.splitlines()
    expected = expected_probabilities(np.full((8, 8, 3), COLOURS["green"], np.uint8))
    assert title == str(pictures / "green.png")
    assert best.split()[:2] == ["green", f"{expected[1]:.1%}"]
    assert [line.split()[0] for line in (second, third)] == ["blue", "red"]
    assert best.count("█") == round(20 * expected[1])
    assert receipt.startswith("litert ")
    assert receipt.endswith(" on cpu, 1 thread")
    assert (done.returncode, done.stderr) == (0, "")


def test_several_pictures_are_a_line_each(artifact_path: Path, pictures: Path) -> None:
    done = predict(artifact_path, pictures)
    *lines, receipt = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["blue", "green", "red"]
    assert [line.split()[-1] for line in lines] == [str(pictures / f"{name}.png") for name in ("blue", "green", "red")]
    assert " on cpu, " in receipt
    assert (done.returncode, done.stderr) == (0, "")


def test_top_k_asks_for_tables(artifact_path: Path, pictures: Path) -> None:
    done = predict(artifact_path, pictures, "--top-k", 2)
    assert len(done.stdout.splitlines()) == 3 * (1 + 2) + 1


def test_json_is_an_object_a_line(artifact_path: Path, pictures: Path) -> None:
    done = predict(artifact_path, pictures / "red.png", pictures / "blue.png", "--json", "--top-k", 2)
    rows = json_lines(done.stdout)
    assert (done.returncode, done.stderr, len(rows)) == (0, "", 2)
    for row, colour in zip(rows, ("red", "blue"), strict=True):
        assert set(row) == {"image", "predictions", "head", "receipt", "timings_ms", "error"}
        assert row["image"] == str(pictures / f"{colour}.png")
        assert [set(prediction) for prediction in row["predictions"]] == [{"index", "label", "probability"}] * 2
        assert (row["predictions"][0]["label"], row["predictions"][0]["index"]) == (colour, LABELS.index(colour))
        assert set(row["receipt"]) == {field.name for field in fields(Receipt)}
        assert (row["receipt"]["requested"], row["receipt"]["active"], row["receipt"]["fallback"]) == (
            "auto", "cpu", None,
        )  # fmt: skip
        assert set(row["timings_ms"]) == {"preprocess", "inference"}
        assert all(milliseconds > 0 for milliseconds in row["timings_ms"].values())
        assert row["error"] is None


def test_csv_says_what_json_says(artifact_path: Path, pictures: Path, bad_picture: Path) -> None:
    odd = pictures / 'a "red", one.png'
    odd.write_bytes((pictures / "red.png").read_bytes())
    arguments = (artifact_path, odd, bad_picture, pictures / "blue.png", "--top-k", 2)
    done = predict(*arguments, "--csv")
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    expected = [
        {"image": row["image"], "rank": str(rank), **{key: str(value) for key, value in each.items()}, "error": ""}
        for row in json_lines(predict(*arguments, "--json").stdout)
        for rank, each in enumerate(row["predictions"], 1)
    ]
    assert [row for row in found if not row["error"]] == expected
    (failed,) = (row for row in found if row["error"])
    assert failed["image"] == str(bad_picture)
    assert "is not a readable image" in failed["error"]
    assert [failed[key] for key in ("rank", "index", "label", "probability")] == [""] * 4
    assert done.returncode == 1
    assert " on cpu, " in done.stderr, "what ran is no part of the table"


def test_csv_of_no_label_is_a_row_of_the_image(artifact_path: Path, pictures: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(predict(artifact_path, pictures / "red.png", "--threshold", 1, "--csv").stdout))
    assert row == dict.fromkeys(("rank", "index", "label", "probability", "error"), "") | {
        "image": str(pictures / "red.png")
    }


def test_options_may_stand_anywhere(artifact_path: Path, pictures: Path) -> None:
    done = predict("--json", artifact_path, pictures / "red.png", "--threads", 1, pictures / "blue.png")
    assert [row["receipt"]["threads"] for row in json_lines(done.stdout)] == [1, 1]


# What it takes


def test_stdin(artifact_path: Path, pictures: Path) -> None:
    done = predict(artifact_path, "-", "--json", stdin=(pictures / "blue.png").read_bytes())
    (row,) = json_lines(done.stdout)
    assert (row["image"], row["predictions"][0]["label"], done.returncode) == ("-", "blue", 0)


def test_folders_are_searched_to_the_bottom(pictures: Path) -> None:
    deep = pictures / "a" / "b"
    deep.mkdir(parents=True)
    (deep / ".thumbnails").mkdir()
    for name in ("x.JPG", "notes.txt", ".hidden.png", ".thumbnails/x.jpg"):
        (deep / name).touch()
    found = [Path(name).relative_to(pictures).as_posix() for name in find_images([str(pictures)])]
    assert found == ["a/b/x.JPG", "blue.png", "green.png", "red.png"]
    assert find_images([f"{pictures}/a/"]) == [str(deep / "x.JPG")]
    assert find_images([str(deep / ".thumbnails")]) == [str(deep / ".thumbnails" / "x.jpg")], "it was asked for"


def test_files_of_a_folder_that_are_not_looked_at_are_said(artifact_path: Path, pictures: Path) -> None:
    for name in ("a/1.jxl", "a/2.JXL", "notes.txt", "Makefile", ".hidden"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).touch()
    done = predict(artifact_path, pictures)
    assert done.returncode == 0
    expected = f"irv2-predict: note: {pictures}: files not looked at: 4 (.JXL, .jxl, .txt, Makefile); pass JPEG"
    assert done.stderr.startswith(expected)
    assert "not looked at" not in predict(artifact_path, pictures / "red.png").stderr


def test_a_picture_that_comes_out_nearly_black_is_said(artifact_path: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "camera.png")
    done = predict(artifact_path, tmp_path / "camera.png", "--json")
    assert json_lines(done.stdout)[0]["error"] is None
    assert "camera.png: 16-bit values, none over 4095, nearly black; if that is white, scale" in done.stderr


def test_patterns_are_expanded(pictures: Path) -> None:
    assert find_images([str(pictures / "[gr]*.png")]) == [str(pictures / "green.png"), str(pictures / "red.png")]
    assert find_images([str(pictures.parent / "**" / "blue.*")]) == [str(pictures / "blue.png")]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(pictures: Path) -> None:
    (pictures / "blue.png").rename(pictures / "1.png")
    odd = (pictures / "red.png").rename(pictures / "[1].png")
    assert find_images([str(odd)]) == [str(odd)]


def test_what_leads_nowhere_stays_to_be_complained_about(tmp_path: Path) -> None:
    wanted = ["-", str(tmp_path / "missing.jpg"), str(tmp_path / "*.jpg"), str(tmp_path)]
    assert find_images(wanted) == wanted


# What goes wrong


def test_a_bad_picture_does_not_stop_the_others(artifact_path: Path, pictures: Path, bad_picture: Path) -> None:
    done = predict(artifact_path, pictures)
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == ["blue", "green", "red"]
    assert done.stderr.splitlines() == [
        f"irv2-predict: {bad_picture} is not a readable image: {SUPPORTED}",
        "irv2-predict: error: 1 of 4 images could not be classified",
    ]
    assert done.returncode == 1


def test_in_json_a_bad_picture_has_its_error(artifact_path: Path, pictures: Path, bad_picture: Path) -> None:
    done = predict(artifact_path, bad_picture, pictures / "red.png", "--json")
    bad, good = json_lines(done.stdout)
    assert "is not a readable image" in bad["error"]
    assert (bad["predictions"], bad["timings_ms"]) == ([], {"preprocess": None, "inference": None})
    assert set(bad) == set(good)
    assert good["predictions"][0]["label"] == "red"
    assert done.stderr == "irv2-predict: error: 1 of 2 images could not be classified\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("missing.jpg", "missing.jpg does not exist"),
        ("*.webp", "*.webp does not exist"),
        ("", "no readable images"),
    ],
)
def test_nothing_found_is_an_error(artifact_path: Path, tmp_path: Path, image: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    done = predict(artifact_path, tmp_path / "empty" / image)
    assert message in done.stderr
    assert done.returncode == 1


def test_libraries_stay_silent_about_damaged_pictures(artifact_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    Image.effect_noise((40, 30), 80).save(path, compression="tiff_deflate")
    content = bytearray(path.read_bytes())
    content[60:62] = b"\xff\x00"
    path.write_bytes(content)
    done = predict(artifact_path, path)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["irv2-predict", "irv2-predict"]


def test_another_file_than_the_pinned_one_is_refused(artifact_path: Path, pictures: Path) -> None:
    right = hashlib.sha256(artifact_path.read_bytes()).hexdigest()
    assert predict(artifact_path, pictures, "--sha256", right).returncode == 0
    done = predict(artifact_path, pictures, "--sha256", "0" * 64)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"irv2-predict: error: {artifact_path} has SHA-256 {right}, expected 000")
    assert len(done.stderr.splitlines()) == 1


def test_a_bad_model_is_one_line(pictures: Path, tmp_path: Path) -> None:
    done = predict(tmp_path / "missing.tflite", pictures)
    assert done.stderr.startswith("irv2-predict: error: model ")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


def test_debug_shows_the_traceback(pictures: Path, tmp_path: Path) -> None:
    done = predict(tmp_path / "missing.tflite", pictures, "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["model.tflite"],
        ["model.tflite", "a.jpg", "--threads", "0"],
        ["model.tflite", "a.jpg", "--threads", "two"],
        ["model.tflite", "a.jpg", "--top-k", "-1"],
        ["model.tflite", "a.jpg", "--engine", "onnx"],
        ["model.tflite", "a.jpg", "--sha256", "abc"],
        ["model.tflite", "a.jpg", "--surprise"],
        ["model.tflite", "a.jpg", "--thread", "2"],
        ["model.tflite", "a.jpg", "--csv", "--json"],
        ["model.tflite", "--camera", "photos", "--csv"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = predict(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: irv2-predict [OPTIONS] MODEL IMAGE ...\nirv2-predict: error: ")


# The terminal


def test_file_names_cannot_steer_the_terminal(artifact_path: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), COLOURS["red"]).save(tmp_path / "evil\x1b[2J\nirv2.png")
    (tmp_path / "bad\x1b[31m.png").touch()
    done = predict(artifact_path, tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert r"evil\x1b[2J\nirv2.png" in done.stdout
    assert r"bad\x1b[31m.png" in done.stderr


def test_printable_escapes_what_moves_hides_or_reorders() -> None:
    assert printable("größe 日本.jpg") == "größe 日本.jpg"
    assert printable("\x9b\u202e\r\udcff\t") == r"\x9b\u202e\r\udcff\t"


def test_names_and_labels_print_in_any_locale(artifact_path: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), COLOURS["red"]).save(tmp_path / "größe.png")
    plain = {**environment(), "PYTHONIOENCODING": "ascii"}
    line = command_line("edge_runtime", artifact_path, tmp_path / "größe.png")
    done = subprocess.run(line, capture_output=True, env=plain, timeout=120, check=True)
    assert rb"gr\xf6\xdfe.png" in done.stdout
    assert b"#####" in done.stdout


@pytest.mark.parametrize(("count", "shown"), [(5, False), (25, True)])
def test_long_lists_show_progress_on_a_terminal(artifact_path: Path, pictures: Path, count: int, shown: bool) -> None:
    master, slave = pty.openpty()
    os.write(slave, b"stderr: ")
    line = command_line("edge_runtime", artifact_path, *[pictures / "red.png"] * count)
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=slave, env=environment(), timeout=120, check=True)
    terminal = os.read(master, 100_000)
    os.close(slave)
    os.close(master)
    assert (f"{count}/{count} images".encode() in terminal) == shown
    assert len(done.stdout.splitlines()) == count + 1


def test_a_reader_that_leaves_is_no_error(artifact_path: Path, pictures: Path) -> None:
    line = command_line("edge_runtime", artifact_path, *[pictures / "red.png"] * 2000)
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"red")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c_ends_quietly(artifact_path: Path, pictures: Path) -> None:
    line = command_line("edge_runtime", artifact_path, *[pictures / "red.png"] * 20_000)
    with heeding_ctrl_c():
        started = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    with started as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"red")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b""
    assert process.returncode == 130


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(artifact_path: Path, pictures: Path) -> None:
    with open("/dev/full", "w") as full:
        line = command_line("edge_runtime", artifact_path, pictures)
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=120, check=False)
    assert (done.returncode, done.stderr) == (1, b"irv2-predict: error: [Errno 28] No space left on device\n")
