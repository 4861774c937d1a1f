"""What a CompiledModel refuses, on machines without a GPU; where it computes is seen in tests/devices/test_gpu.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edge_runtime import EngineError
from edge_runtime.compiled import ACCELERATORS, CompiledEngine
from edge_runtime.engines import choose_engine
from tests.edge_runtime.commands import environment
from tests.edge_runtime.tiny_model import tiny_flatbuffer

NO_DRIVER = {"VK_DRIVER_FILES": os.devnull, "VK_ICD_FILENAMES": os.devnull}


def test_an_unknown_accelerator_comes_with_the_known_ones() -> None:
    with pytest.raises(EngineError, match="accelerator 'tpu' is unknown: choose gpu or npu"):
        CompiledEngine(tiny_flatbuffer(), choose_engine("litert"), "tpu")


def test_only_litert_has_it() -> None:
    choice = choose_engine("litert")._replace(name="tflite-runtime")
    with pytest.raises(EngineError, match=r"engine tflite-runtime can use a GPU .*: use engine litert"):
        CompiledEngine(tiny_flatbuffer(), choice, "gpu")


def test_a_litert_that_lacks_it_comes_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.compiled_model", None)
    with pytest.raises(EngineError, match=r"has no CompiledModel .*: pip install --upgrade ai-edge-litert ml_dtypes"):
        CompiledEngine(tiny_flatbuffer(), choose_engine("litert"), "gpu")


def test_a_damaged_model_is_refused_before_the_accelerator_is_asked() -> None:
    with pytest.raises(EngineError, match=r"^litert \S+ refuses the model: [^\n]+$"):
        CompiledEngine(b"\0\0\0\0TFL3" + bytes(range(256)), choose_engine("litert"), "gpu")


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_a_missing_accelerator_is_one_line_with_its_reason(accelerator: str) -> None:
    """In a process of its own: LiteRT prints the cause once a process, and its last words when the process ends."""
    code = """if True:
        import sys
        from edge_runtime import EngineError
        from edge_runtime.compiled import CompiledEngine
        from edge_runtime.engines import choose_engine
        from tests.edge_runtime.tiny_model import tiny_flatbuffer
        try:
            CompiledEngine(tiny_flatbuffer(), choose_engine("litert"), sys.argv[1])
        except EngineError as error:
            print(error)
    """
    line = [sys.executable, "-c", code, accelerator]
    done = subprocess.run(line, capture_output=True, text=True, env=environment() | NO_DRIVER, timeout=120, check=True)
    reasons = {"gpu": "No adapters found", "npu": "Some ops are not accelerated"}
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert f"cannot run the model on the {accelerator}: " in done.stdout
    assert reasons[accelerator] in done.stdout
    assert done.stdout.endswith(f"; it needs {ACCELERATORS[accelerator].needs}\n")
