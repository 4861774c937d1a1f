"""A second conversion: what it takes from the cache, and that nothing but its time differs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import Finished, run_command
from tests.convert.cli.commands import run_here
from tests.convert.cli.conversions import Conversion

FROM_CACHE = re.compile(r"^(.+): from the cache, made .+$", re.MULTILINE)
SHARED = ["float network", "preprocessing check", "calibration", "float answers"]
ALL = [*SHARED, "quantized network", "answers", "speed"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for the tests of this file, which does not exist yet."""
    return tmp_path_factory.mktemp("cache") / "irv2"


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, in use."""
    monkeypatch.setenv("IRV2_CACHE_DIR", str(place))
    return place


@pytest.fixture
def without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nobody can import TensorFlow or Keras."""
    for name in ("tensorflow", "keras"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(f"raise ImportError('{name} was imported')\n")
    path = [str(tmp_path / "broken"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.fixture(scope="module")
def cold(arguments: list[object], place: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """The first conversion."""
    folder = tmp_path_factory.mktemp("cold")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IRV2_CACHE_DIR", str(place))
        finished = run_command("irv2-convert", *arguments, "--quantize", "int8", "--output-dir", folder)
    assert finished.code == 0, finished.err
    return Conversion(finished, folder)


def recalled(finished: Finished) -> list[str]:
    assert finished.code == 0, finished.err
    return FROM_CACHE.findall(finished.err)


@pytest.mark.usefixtures("here")
def test_the_first_conversion_computes_everything(cold: Conversion) -> None:
    assert recalled(cold.finished) == []
    assert cold.report("int8")["cached"] == []


@pytest.mark.usefixtures("here", "without_tensorflow")
def test_the_second_gives_the_same_bytes_without_tensorflow(
    cold: Conversion, arguments: list[object], tmp_path: Path
) -> None:
    finished = run_command("irv2-convert", *arguments, "--quantize", "int8", "--output-dir", tmp_path / "warm")
    assert recalled(finished) == ALL
    warm = Conversion(finished, tmp_path / "warm")
    assert warm.artifact("int8").read_bytes() == cold.artifact("int8").read_bytes()
    report = warm.report("int8")
    assert report["cached"] == ALL
    assert report["timings_s"]["lowering"] < 0.2 * cold.report("int8")["timings_s"]["lowering"]
    for key in ("drift", "gate", "calibration", "layers", "blame"):
        assert report[key] == cold.report("int8")[key]
    told = [line for line in cold.finished.err.splitlines() if "agrees with Keras" in line]
    assert told
    assert set(told) <= set(finished.err.splitlines()), "what is worth knowing is told again"


@pytest.mark.usefixtures("cold", "here", "without_tensorflow")
def test_other_schemes_and_options_share_what_they_can(arguments: list[object], tmp_path: Path) -> None:
    float16 = run_here("irv2-convert", *arguments, "--quantize", "float16", "--output-dir", tmp_path / "a")
    assert recalled(float16) == ["float network", "preprocessing check", "float answers"]
    other_ends = run_here("irv2-convert", *arguments, "--io", "int8", "--output-dir", tmp_path / "b")
    assert recalled(other_ends) == SHARED
    other_limits = run_here("irv2-convert", *arguments, "--min-agreement", 1, "--output-dir", tmp_path / "d")
    assert recalled(other_limits) == ALL
    fewer = run_here("irv2-convert", *arguments, "--calibration-size", 7, "--output-dir", tmp_path / "c")
    assert recalled(fewer) == ["float network", "preprocessing check", "float answers"]


@pytest.mark.usefixtures("cold", "without_tensorflow")
def test_without_the_cache_nothing_is_read_or_written(arguments: list[object], here: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    finished = run_here("irv2-convert", *arguments, "--no-cache", "--output-dir", tmp_path / "out")
    assert finished.code == 1
    assert "tensorflow was imported" in finished.err or "keras was imported" in finished.err
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


@pytest.mark.usefixtures("without_tensorflow")
def test_a_damaged_entry_is_made_again(cold: Conversion, arguments: list[object], here: Path, tmp_path: Path) -> None:
    (meta,) = [path for path in here.glob("calibration-*/meta.json") if ", 60 images" in path.read_text()]
    path = meta.with_name("uint8.npy")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    finished = run_here("irv2-convert", *arguments, "--output-dir", tmp_path / "out")
    assert recalled(finished) == [kind for kind in ALL if kind != "calibration"]
    assert "cache: what was kept of the calibration is damaged" in finished.err
    rebuilt = Conversion(finished, tmp_path / "out").artifact("int8").read_bytes()
    assert rebuilt == cold.artifact("int8").read_bytes()


@pytest.mark.usefixtures("lowered_at_once")
def test_a_folder_that_cannot_be_used_stops_nothing(
    arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("IRV2_CACHE_DIR", str(tmp_path / "file" / "cache"))
    finished = run_here(
        "irv2-convert", *arguments, "--quantize", "none", "--validation-size", 60, "--output-dir", tmp_path / "out"
    )
    assert finished.code in (0, 4), finished.err
    assert finished.err.count("cannot be written to (Not a directory): going on without it") == 1


@pytest.mark.usefixtures("cold")
def test_its_entries_are_shown_and_removed(here: Path) -> None:
    """This test is the last one: it clears the cache of all."""
    shown = run_here("irv2-convert", "cache")
    assert shown.code == 0, shown.err
    assert re.search(r"^float network +colours +(\d\.\d M|\d+ k)B +.+ ago +.+$", shown.out, re.MULTILINE)
    assert re.search(r"^float answers +colours, 240 images +\d+ kB", shown.out, re.MULTILINE)
    count = len(list(here.iterdir()))
    assert f"{count} entries, " in shown.out
    assert f"MB of at most 4,000.0 MB in {here}\n" in shown.out
    cleared = run_command("irv2-convert", "cache", "--clear")
    assert (cleared.code, cleared.out) == (0, f"removed {count} entries of {here}\n")
    assert list(here.iterdir()) == []
    assert run_here("irv2-convert", "cache").out.startswith("0 entries, 0 kB of at most")


def test_a_wrong_bound_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRV2_CACHE_GB", "much")
    finished = run_here("irv2-convert", "cache")
    assert finished.code == 1
    assert (
        finished.err
        == "irv2-convert: error: IRV2_CACHE_GB=much is not a number of gigabytes: set it to one, such as 4\n"
    )
