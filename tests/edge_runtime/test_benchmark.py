"""`irv2-benchmark` measures what it says, and says what it measured."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from edge_runtime import Receipt, _autotune, benchmark
from edge_runtime.benchmark import Speed, _save, measure, milliseconds, peak_memory_bytes, synthetic_photo
from edge_runtime.delegates import DELEGATES
from tests.edge_runtime.commands import predict, run

BENCHMARK = "edge_runtime.benchmark"


def test_json_report(artifact_path: Path) -> None:
    done = run(BENCHMARK, artifact_path, "--threads", "1,2", "--runs", 20, "--warmup", 2, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(report) == {
        "model", "runs", "warmup", "engine_import_ms", "inference", "peak_memory_bytes", "preprocess_12mp_ms",
        "saved", "before", "after",
    }  # fmt: skip
    assert (report["model"], report["runs"], report["warmup"]) == (str(artifact_path), 20, 2)
    assert [speed["receipt"]["threads"] for speed in report["inference"]] == [1, 2]
    for speed in report["inference"]:
        assert 0 < speed["p50_ms"] <= speed["p90_ms"] <= speed["p95_ms"] <= speed["p99_ms"]
        assert 1000 / speed["p99_ms"] <= speed["images_per_s"]
        assert speed["load_ms"] > speed["p50_ms"]
        assert 10e6 < speed["resident_bytes"] <= report["peak_memory_bytes"] + 2**20, "the kernel counts in batches"
    for state in (report["before"], report["after"]):
        assert set(state) == {"peak_memory_bytes", "clock_khz", "temperature_c"}
    assert report["before"]["peak_memory_bytes"] <= report["after"]["peak_memory_bytes"]
    assert report["preprocess_12mp_ms"] > 1
    assert report["peak_memory_bytes"] < 200e6  # without the 12-megapixel picture


def test_another_file_than_the_pinned_one_is_refused(artifact_path: Path) -> None:
    right = hashlib.sha256(artifact_path.read_bytes()).hexdigest()
    assert run(BENCHMARK, artifact_path, "--runs", 1, "--sha256", right.upper()).returncode == 0
    for more in ((), ("--preprocessing", "tf")):
        done = run(BENCHMARK, artifact_path, "--runs", 1, "--sha256", "0" * 64, *more)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"irv2-benchmark: error: {artifact_path} has SHA-256 {right}, expected 000")
        assert len(done.stderr.splitlines()) == 1


def test_table_has_a_row_for_each_number_of_threads(artifact_path: Path) -> None:
    done = run(BENCHMARK, artifact_path, "--threads", "2,1", "--runs", 5)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["threads", "2", "1"]
    assert "peak memory" in lines[4]
    assert " on cpu, " in lines[5]
    assert (done.returncode, done.stderr) == (0, "")


def test_every_delegate_is_measured_with_every_number_of_threads(artifact_path: Path, plugin: Path) -> None:
    wrong = f"{plugin}:behaviour=answers-wrongly"
    options = (
        "--delegate",
        "cpu",
        "--delegate",
        plugin,
        "--delegate",
        wrong,
        "--threads",
        "1,2",
        "--runs",
        3,
        "--json",
    )
    done = run(BENCHMARK, artifact_path, *options)
    receipts = [speed["receipt"] for speed in json.loads(done.stdout)["inference"]]
    assert [(receipt["requested"], receipt["active"], receipt["threads"]) for receipt in receipts] == [
        (requested, active, threads)
        for requested, active in (("cpu", "cpu"), (str(plugin), str(plugin)), (wrong, "cpu"))
        for threads in (1, 2)
    ]
    assert done.stderr.startswith(f"irv2-benchmark: warning: delegate {wrong} cannot be used: its probabilities differ")
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert not _autotune.cache_file().exists()


def speed_of(delegate: str, p50_ms: float, fallback: str | None = None) -> Speed:
    receipt = Receipt(
        delegate, "cpu", "litert", "2", "cpu", None, 1, 1, None, None, None, None, fallback, None
    )  # fmt: skip
    return Speed(receipt, 1, 1, p50_ms, p50_ms, p50_ms, p50_ms, 1, None)


def test_the_fastest_that_proved_itself_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = [speed_of("cpu", 20), speed_of("gpu", 5, "no GPU"), speed_of("edgetpu", 9), speed_of("cpu", 12)]
    assert _save("ab" * 32, speeds) == {"delegate": "edgetpu", "file": str(_autotune.cache_file())}
    remembered = _autotune.load_fastest("ab" * 32)
    assert remembered is not None
    assert remembered.text == "edgetpu"
    assert _save("ab" * 32, speeds[:2])["delegate"] == "cpu"


def test_what_is_saved_is_what_auto_takes(artifact_path: Path, plugin: Path, pictures: Path) -> None:
    done = run(BENCHMARK, artifact_path, "--save", "--delegate", plugin, "--runs", 30, "--json")
    report = json.loads(done.stdout)
    assert [speed["receipt"]["requested"] for speed in report["inference"]] == ["cpu", str(plugin)]
    fastest_one = min(report["inference"], key=lambda speed: speed["p50_ms"])["receipt"]
    assert report["saved"] == {"delegate": fastest_one["requested"], "file": str(_autotune.cache_file())}
    (row,) = [json.loads(line) for line in predict(artifact_path, pictures / "red.png", "--json").stdout.splitlines()]
    assert (row["receipt"]["requested"], row["receipt"]["active"]) == ("auto", fastest_one["active"])


def test_saving_tries_every_delegate_with_a_name(artifact_path: Path) -> None:
    done = run(BENCHMARK, artifact_path, "--save", "--runs", 3, "--threads", 1)
    assert done.returncode == 0
    for name in DELEGATES:
        assert re.search(
            f"^irv2-benchmark: warning: delegate {name} cannot be used: .*", done.stderr, re.MULTILINE
        ) or (re.search(rf"  {name}$", done.stdout, re.MULTILINE))
    assert " is the fastest, and what auto uses from now on" in done.stdout


def test_every_time_is_of_one_inference(artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    speed, _ = measure(str(artifact_path), "auto", 1, 3, 10)
    assert {speed.load_ms, speed.first_ms, speed.p50_ms, speed.p90_ms, speed.p95_ms, speed.p99_ms} == {1000}
    assert speed.images_per_s == 1


def test_the_highest_clock_and_temperature_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sensors that are there; one that is switched off is passed over."""
    for name, text in {"clock0": "600000\n", "clock1": "1500000\n", "zone0": "45250\n", "zone1": "N/A"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(benchmark, "CLOCKS", str(tmp_path / "clock*"))
    monkeypatch.setattr(benchmark, "TEMPERATURES", str(tmp_path / "zone*"))
    state = benchmark.device_state()
    assert (state["clock_khz"], state["temperature_c"]) == (1_500_000, 45.25)
    monkeypatch.setattr(benchmark, "CLOCKS", str(tmp_path / "none*"))
    assert benchmark.device_state()["clock_khz"] is None


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
