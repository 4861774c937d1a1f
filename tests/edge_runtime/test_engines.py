"""Choosing an interpreter, and its refusals in our words."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime import ArtifactError, EngineError, engines
from edge_runtime.engines import ENGINES, Engine, EngineChoice, choose_engine, import_interpreter
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.commands import environment
from tests.edge_runtime.tiny_model import OUTPUT_SCALE, PIXEL_SCALE, tiny_flatbuffer


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    found = {name: ModuleSpec(name, None) for name in modules}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    monkeypatch.setattr(metadata, "version", lambda distribution: f"version of {distribution}")


def test_auto_prefers_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "ai_edge_litert", "tflite_runtime")
    assert choose_engine() == EngineChoice("litert", "version of ai-edge-litert", "ai_edge_litert.interpreter")


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "tflite_runtime")
    assert choose_engine("auto").name == "tflite-runtime"


def test_a_name_forces_that_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "ai_edge_litert", "tflite_runtime")
    assert choose_engine("tflite-runtime").module == "tflite_runtime.interpreter"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("litert", "pip install ai-edge-litert$"),
        ("tflite-runtime", "pip install tflite-runtime$"),
        ("auto", "pip install ai-edge-litert or tflite-runtime$"),
    ],
)
def test_an_engine_that_is_not_installed_comes_with_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    pretend_installed(monkeypatch)
    with pytest.raises(EngineError, match=f"engine {name} is not installed: {command}"):
        choose_engine(name)


def test_an_unknown_engine_comes_with_the_known_ones() -> None:
    with pytest.raises(EngineError, match="engine 'onnx' is unknown: choose auto, litert or tflite-runtime"):
        choose_engine("onnx")


def test_an_interpreter_without_package_metadata_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_metadata(distribution: str) -> str:
        raise metadata.PackageNotFoundError(distribution)

    pretend_installed(monkeypatch, "ai_edge_litert")
    monkeypatch.setattr(metadata, "version", no_metadata)
    assert choose_engine().version == "of unknown version"


@pytest.mark.parametrize("name", ["ai_edge_litert-9.8.7.dist-info", "ai-edge-litert-9.8.7.dist-info"])
def test_the_version_is_that_of_the_package_that_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    for folder in ("ai_edge_litert", name, "ai_edge_litert_nightly-1.2.3.dist-info"):
        (tmp_path / folder).mkdir()
    spec = ModuleSpec("ai_edge_litert", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "ai_edge_litert")]
    monkeypatch.setattr(importlib.util, "find_spec", {"ai_edge_litert": spec}.get)
    assert choose_engine("litert").version == "9.8.7"


def test_of_the_interpreter_here_it_is_what_its_own_metadata_say() -> None:
    choice = choose_engine()
    assert choice.version == metadata.version(ENGINES[choice.name][1])


def test_an_interpreter_that_cannot_be_imported_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"litert 1.0 cannot be imported .*reinstall it"):
        Engine(tiny_flatbuffer(), EngineChoice("litert", "1.0", "no_such_module.interpreter"), 1)


def test_an_interpreter_that_does_not_fit_numpy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class BuiltForNumPy1:
        def __init__(self, **_: Any) -> None:
            raise SystemError("returned a result with an exception set")

    monkeypatch.setattr("edge_runtime.engines.import_interpreter", lambda choice: BuiltForNumPy1)
    with pytest.raises(EngineError, match=f"does not work with NumPy {np.__version__}: pip install 'numpy<2'"):
        Engine(tiny_flatbuffer(), choose_engine(), 1)


def test_operations_on_the_cpu_are_those_that_the_interpreter_counts_before_xnnpack_takes_them() -> None:
    choice = choose_engine()
    interpreter = import_interpreter(choice)(model_content=tiny_flatbuffer())
    counted = Engine(tiny_flatbuffer(), choice, 1).placement
    assert counted == (len(interpreter._get_ops_details()), 0, 0)
    assert counted.operations == 3


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_too_few(threads: int) -> None:
    with pytest.raises(EngineError, match=f"{threads} threads: pass at least 1"):
        Engine(tiny_flatbuffer(), choose_engine(), threads)


def test_a_model_that_the_interpreter_refuses_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"^litert .* refuses the model: [^\n]+$"):
        Engine(b"\0\0\0\0TFL3" + bytes(range(256)), choose_engine("litert"), 1)


def test_a_model_that_does_not_hold_together_never_gets_to_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "import_interpreter", lambda _: pytest.fail)
    with pytest.raises(ArtifactError, match=r"^the model is damaged, [^\n]+ leads out of its 600 bytes; [^\n]+$"):
        Engine(tiny_flatbuffer()[:600], choose_engine("litert"), 1)


def test_a_tensor_of_the_wrong_shape_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"^litert .* failed: [^\n]+$"):
        Engine(tiny_flatbuffer(), choose_engine("litert"), 1).run(np.zeros((1, 4, 4, 3), np.float32))


def test_the_ends_are_read_from_the_tensors(tmp_path: Path) -> None:
    image = TensorSpec("image", "uint8", PIXEL_SCALE, 128)
    answer = TensorSpec("probabilities", "int8", OUTPUT_SCALE, -128)
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_flatbuffer(image, answer))
    engine = Engine(path, choose_engine(), 1)
    assert (engine.input_shape, engine.output_shape) == ((1, 8, 8, 3), (1, 3))
    assert (engine.input.dtype, engine.input.zero_point, engine.output.dtype) == ("uint8", 128, "int8")
    assert engine.input.scale == pytest.approx(PIXEL_SCALE)
    assert engine.output == answer


def test_the_native_library_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(tiny_flatbuffer())
    code = """if True:
        import sys, numpy
        from edge_runtime.engines import Engine, choose_engine
        Engine(sys.argv[1], choose_engine(), 2).run(numpy.zeros((1, 8, 8, 3), numpy.float32))
    """
    line = [sys.executable, "-c", code, str(tmp_path / "model.tflite")]
    done = subprocess.run(line, capture_output=True, env=environment(), timeout=120, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_every_engine_has_a_module_and_a_distribution() -> None:
    assert set(ENGINES) == {"litert", "tflite-runtime"}
