"""A device has numpy, Pillow and one interpreter: importing the runtime needs no more than the first two."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import edge_runtime
from tests.edge_runtime.commands import environment

FORBIDDEN = {"tensorflow", "keras", "click", "rich", "convert", "ai_edge_litert", "tflite_runtime", "litert_quantizer"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=120, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", ["edge_runtime", "edge_runtime.predict", "edge_runtime.benchmark"])
def test_importing_loads_no_framework_and_no_interpreter(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert {"edge_runtime", "numpy", "PIL"} <= loaded
    assert not loaded & FORBIDDEN


def test_everything_loaded_is_numpy_pillow_or_the_standard_library() -> None:
    theirs = modules_after("import numpy, PIL.Image")
    ours = modules_after("import edge_runtime.predict, edge_runtime.benchmark") - theirs
    assert ours - set(sys.stdlib_module_names) == {"edge_runtime"}


def test_all_names_what_is_there() -> None:
    assert edge_runtime.__all__ == sorted(edge_runtime.__all__)
    for name in edge_runtime.__all__:
        assert getattr(edge_runtime, name).__module__.startswith("edge_runtime.")


def test_every_public_class_is_in_all() -> None:
    public = {name for name, value in vars(edge_runtime).items() if isinstance(value, type)}
    assert public == set(edge_runtime.__all__)
