"""A device has numpy, Pillow and one interpreter: importing the runtime needs no more than the first two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import edge_runtime
from tests.edge_runtime.commands import environment
from tests.edge_runtime.tiny_model import SIZE

FORBIDDEN = {"tensorflow", "keras", "click", "rich", "convert", "ai_edge_litert", "tflite_runtime", "litert_quantizer"}


PREDICTION = {
    "_archive",
    "_autotune",
    "_cache_file",
    "_cli",
    "_flatbuffer",
    "_graph_check",
    "_mmap",
    "_prefetch",
    "_sparsity_check",
    "answers",
    "arrays",
    "artifact",
    "camera",
    "camera.sources",
    "card",
    "classifier",
    "console",
    "conventions",
    "custom_operators",
    "delegates",
    "engines",
    "errors",
    "geometry",
    "hashing",
    "jpeg_scaling",
    "nearby",
    "opening",
    "predict",
    "preprocess",
    "probe",
    "recorder",
    "resampling",
    "specs",
    "tensors",
    "watched",
}
"""The modules of the runtime that a prediction on the CPU loads, and that it takes the time to load."""

FOR_OTHERS = {"concurrent.futures", "http.client", "importlib.metadata", "multiprocessing", "ssl", "subprocess"}
"""Large modules of the standard library that only cameras, delegates, several workers or --version need."""


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    return {name.split(".")[0] for name in all_modules_after(statement)}


def all_modules_after(statement: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after `statement`, whatever that prints."""
    code = f"{statement}\nimport sys, json; print(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=120, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    ["from edge_runtime import Classifier", "import edge_runtime.predict", "import edge_runtime.benchmark"],
)
def test_importing_loads_no_framework_and_no_interpreter(statement: str) -> None:
    loaded = modules_after(statement)
    assert {"edge_runtime", "numpy", "PIL"} <= loaded
    assert not loaded & FORBIDDEN


def test_the_command_begins_before_numpy_is_imported() -> None:
    loaded = modules_after("import edge_runtime._start, edge_runtime.hashing")
    assert not loaded & {"numpy", "PIL", *FORBIDDEN}


def test_everything_loaded_is_numpy_pillow_or_the_standard_library() -> None:
    theirs = modules_after("import numpy, PIL.Image")
    ours = modules_after("import edge_runtime.predict, edge_runtime.benchmark") - theirs
    assert ours - set(sys.stdlib_module_names) == {"edge_runtime"}


def test_a_plain_prediction_loads_what_it_needs_and_no_more(artifact_path: Path, tmp_path: Path) -> None:
    """What it does not need, it need not wait for: a camera's modules or a delegate's are imported with a camera."""
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "black.png")
    command = [str(artifact_path), str(tmp_path / "black.png")]
    loaded = all_modules_after(f"from edge_runtime.predict import main\nassert main({command!r}) == 0")
    ours = {name.partition(".")[2] for name in loaded if name.startswith("edge_runtime.")}
    assert ours == PREDICTION
    assert not loaded & (FOR_OTHERS - all_modules_after("import numpy, PIL.Image, ai_edge_litert.interpreter"))


def test_all_names_what_is_there() -> None:
    assert edge_runtime.__all__ == sorted(edge_runtime.__all__)
    for name in edge_runtime.__all__:
        assert getattr(edge_runtime, name).__module__.startswith("edge_runtime.")
        assert getattr(edge_runtime, name).__name__ == name


def test_no_other_name_is_there() -> None:
    assert set(edge_runtime._HOMES) == set(edge_runtime.__all__)
    with pytest.raises(AttributeError, match="'edge_runtime' has no attribute 'Nothing'"):
        _ = edge_runtime.Nothing
