"""`irv2-benchmark` measures what it says, and says what it measured."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from edge_runtime.benchmark import measure, milliseconds, peak_memory_bytes, synthetic_photo
from tests.edge_runtime.commands import run

BENCHMARK = "edge_runtime.benchmark"


def test_json_report(artifact_path: Path) -> None:
    done = run(BENCHMARK, artifact_path, "--threads", "1,2", "--runs", 20, "--warmup", 2, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(report) == {
        "model", "runs", "warmup", "engine_import_ms", "inference", "peak_memory_bytes", "preprocess_12mp_ms",
    }  # fmt: skip
    assert (report["model"], report["runs"], report["warmup"]) == (str(artifact_path), 20, 2)
    assert [speed["receipt"]["threads"] for speed in report["inference"]] == [1, 2]
    for speed in report["inference"]:
        assert 0 < speed["p50_ms"] <= speed["p90_ms"] <= speed["p99_ms"]
        assert 1000 / speed["p99_ms"] <= speed["images_per_s"]
        assert speed["load_ms"] > speed["p50_ms"]
    assert report["preprocess_12mp_ms"] > 1
    assert report["peak_memory_bytes"] < 200e6  # without the 12-megapixel picture


def test_table_has_a_row_for_each_number_of_threads(artifact_path: Path) -> None:
    done = run(BENCHMARK, artifact_path, "--threads", "2,1", "--runs", 5)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["threads", "2", "1"]
    assert "peak memory" in lines[4]
    assert " on cpu, " in lines[5]
    assert (done.returncode, done.stderr) == (0, "")


def test_every_time_is_of_one_inference(artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    speed, _ = measure(str(artifact_path), "auto", 1, 3, 10)
    assert {speed.load_ms, speed.first_ms, speed.p50_ms, speed.p90_ms, speed.p99_ms} == {1000}
    assert speed.images_per_s == 1


def test_milliseconds_are_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 1.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert milliseconds(lambda: None) == 250


def test_the_photo_has_12_megapixels() -> None:
    photo = synthetic_photo()
    with Image.open(io.BytesIO(photo)) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (4000, 3000), "RGB")
    assert 1e6 < len(photo) < 12e6


def test_peak_memory_is_of_this_process() -> None:
    before = peak_memory_bytes()
    assert before is not None
    ballast = bytearray(b"x") * 200_000_000
    after = peak_memory_bytes()
    assert after is not None
    assert after >= before
    assert after > len(ballast)


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    done = run(BENCHMARK, tmp_path / "missing.tflite")
    assert done.stderr.startswith("irv2-benchmark: error: model ")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize("arguments", [[], ["model.tflite", "--threads", "1,0"], ["model.tflite", "--runs", "0"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(BENCHMARK, *arguments).returncode == 2
