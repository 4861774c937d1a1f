"""What makes a kept result stale: another version, another line of code, another processor, another setting."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import convert
from convert.cache.fingerprint import fingerprint, own_code
from convert.system.machine import COMPUTING

ROOT = Path(__file__).parents[3]


def test_it_is_the_same_twice() -> None:
    assert fingerprint() == fingerprint()


@pytest.mark.parametrize("package", ["tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "numpy", "pillow"])
def test_another_version_of_a_library_is_another_fingerprint(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = fingerprint(), metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == package else version(name))
    assert fingerprint() != before


def test_a_library_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert fingerprint()["packages"] == dict.fromkeys(COMPUTING)


def test_it_imports_none_of_them() -> None:
    code = "import sys; from convert.cache.fingerprint import fingerprint; fingerprint(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "litert_quantizer", "ai_edge_litert"} & set(loaded)


@pytest.mark.parametrize("name", ["convert/quantization/gptq.py", "edge_runtime/preprocess.py"])
def test_an_edit_of_our_own_code_is_another_fingerprint(name: str, tmp_path: Path) -> None:
    for package in ("convert", "edge_runtime"):
        shutil.copytree(ROOT / package, tmp_path / package)
    before = own_code(tmp_path)
    assert before == own_code(ROOT)
    path = tmp_path / name
    path.write_text(path.read_text().replace("0.01", "0.02") + "\n")
    assert own_code(tmp_path) != before


def test_compiled_files_are_none_of_our_code(tmp_path: Path) -> None:
    (tmp_path / "convert" / "__pycache__").mkdir(parents=True)
    before = own_code(tmp_path)
    (tmp_path / "convert" / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert own_code(tmp_path) == before


def test_the_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(99)))
    assert fingerprint() != before


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS"])
def test_another_setting_is_another_fingerprint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    before = fingerprint()
    monkeypatch.setenv(name, "1")
    assert fingerprint() != before


def test_keras_settings_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    before = fingerprint()
    (tmp_path / "keras.json").write_text('{"floatx": "float16"}')
    assert fingerprint() != before


def test_the_file_that_keras_writes_when_it_is_first_imported_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nothing that the first conversion on a machine computes would be kept."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    before = fingerprint()
    subprocess.run([sys.executable, "-c", "import keras"], check=True, capture_output=True)
    assert (tmp_path / "keras.json").is_file()
    assert fingerprint() == before


@pytest.mark.parametrize("text", ["no settings", "[1]", "null"])
def test_a_file_of_keras_without_settings_counts_by_its_text(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(text)
    assert fingerprint()["keras"] == text


def test_our_own_code_is_found() -> None:
    assert fingerprint()["irv2-edge"] == own_code(Path(convert.__file__).parents[1])
    assert own_code(Path(convert.__file__).parents[1]) != own_code(Path(convert.__file__).parent), "nothing lies there"
