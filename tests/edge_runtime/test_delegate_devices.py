"""NNAPI through a plugin of the user's, and the GPU through CompiledModel where LiteRT has it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge_runtime import Classifier, EngineError, npu
from edge_runtime.engines import Engine, Placement
from edge_runtime.preprocess import Pixels
from tests.edge_runtime.commands import predict
from tests.edge_runtime.compiled_models import compiled_artifact
from tests.edge_runtime.refusals import REFUSALS, every_engine
from tests.edge_runtime.tiny_model import expected_probabilities, tiny_flatbuffer

# NNAPI


@every_engine
@pytest.mark.parametrize("behaviour", ["claims-all", *REFUSALS])
def test_the_same_plugin_as_nnapi(
    artifact_path: Path, plugin: Path, noise: Pixels, monkeypatch: pytest.MonkeyPatch, engine: str, behaviour: str
) -> None:
    monkeypatch.setenv("IRV2_NNAPI_LIBRARY", str(plugin))
    with pytest.warns(RuntimeWarning) as warned:
        classifier = Classifier.open(artifact_path, engine=engine, delegate=f"nnapi:behaviour={behaviour}")
    with classifier:
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert "deprecated since Android 15" in str(warned[0].message)
    assert "deprecated since Android 15" in (receipt.warning or "")
    if behaviour == "claims-all":
        assert (receipt.active, receipt.device, receipt.library) == ("nnapi", "nnapi", str(plugin))
        assert (receipt.delegated, receipt.fallback, len(warned)) == (3, None, 1)
    else:
        assert (receipt.active, receipt.library, receipt.delegated) == ("cpu", None, 0)
        assert re.search(REFUSALS[behaviour], receipt.fallback or "")


def test_the_command_warns_of_nnapi(
    artifact_path: Path, plugin: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRV2_NNAPI_LIBRARY", str(plugin))
    done = predict(artifact_path, pictures / "red.png", "--delegate", "nnapi")
    assert re.fullmatch(r"irv2-predict: warning: NNAPI is deprecated since Android 15.*\n", done.stderr)
    assert " on nnapi, " in done.stdout
    assert done.returncode == 0


# CompiledModel

COMPILED = "edge_runtime.compiled"


def compiled_module(make: Callable[..., Any]) -> ModuleType:
    """Make a stand-in for `edge_runtime.compiled`."""
    module = ModuleType(COMPILED)
    module.CompiledEngine = make  # type: ignore[attr-defined]
    return module


class FakeCompiledEngine(Engine):
    """Computes on the CPU what a GPU or NPU would; `made` keeps how each was asked for."""

    made: list[str] = []  # noqa: RUF012
    device = "a graphics card"

    def __init__(self, model: Path | bytes, choice: Any, accelerator: str, options: dict[str, str]) -> None:
        super().__init__(model, choice, 1)
        self.made.append(" ".join([accelerator, *options.values()]))
        self.placement = Placement()  # CompiledModel does not tell


@pytest.mark.usefixtures("no_library", "no_trial")
def test_gpu_is_compiled_where_litert_can(artifact_path: Path, noise: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCompiledEngine, "made", [])
    monkeypatch.setitem(sys.modules, COMPILED, compiled_module(FakeCompiledEngine))
    with Classifier.open(artifact_path, engine="litert", delegate="gpu", workers=2, strict=True) as classifier:
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert FakeCompiledEngine.made == ["gpu", "gpu"]
    assert (receipt.active, receipt.device, receipt.library) == ("gpu", "a graphics card", None)
    assert (receipt.operations, receipt.delegated, receipt.partitions) == (None, None, None)
    assert receipt.probe_difference is not None


@pytest.mark.usefixtures("no_library", "no_trial")
def test_a_gpu_that_cannot_be_compiled_for_leads_back_to_the_cpu(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu(*_: object) -> None:
        raise EngineError("no GPU was found")

    monkeypatch.setitem(sys.modules, COMPILED, compiled_module(no_gpu))
    with pytest.warns(RuntimeWarning, match="no GPU was found"):
        classifier = Classifier.open(artifact_path, engine="litert", delegate="gpu")
    assert classifier.receipt.active == "cpu"
    assert classifier.receipt.fallback == "delegate gpu cannot be used: no GPU was found"


@pytest.mark.usefixtures("no_library")
def test_gpu_is_the_plugin_library_where_one_is_named(
    artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, COMPILED, compiled_module(FakeCompiledEngine))
    monkeypatch.setenv("IRV2_GPU_LIBRARY", str(plugin))
    with Classifier.open(artifact_path, delegate="gpu", strict=True) as classifier:
        assert (classifier.receipt.active, classifier.receipt.library) == ("gpu", str(plugin))


# NPUs


@pytest.mark.usefixtures("no_trial")
def test_an_npu_is_compiled_for_by_the_plugin_of_its_vendor(
    artifact_path: Path, noise: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeCompiledEngine, "made", [])
    monkeypatch.setattr(npu, "vendors", lambda: ["acme"])
    monkeypatch.setitem(sys.modules, COMPILED, compiled_module(FakeCompiledEngine))
    with Classifier.open(artifact_path, engine="litert", delegate="npu:vendor=acme", strict=True) as classifier:
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert FakeCompiledEngine.made == ["npu acme"]
    assert (receipt.requested, receipt.active, receipt.library) == ("npu:vendor=acme", "npu", None)


@pytest.mark.usefixtures("no_trial")
def test_a_file_that_was_compiled_for_an_npu_runs_on_it(
    tmp_path: Path, noise: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Npu(FakeCompiledEngine):
        def __init__(self, model: Path, *how: Any) -> None:
            super().__init__(tiny_flatbuffer(), *how)

    monkeypatch.setitem(sys.modules, COMPILED, compiled_module(Npu))
    path = compiled_artifact("DISPATCH_OP").write(tmp_path / "tiny.tflite")
    with Classifier.open(path, engine="litert", delegate="npu") as classifier:
        assert classifier.receipt.active == "npu"
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise), abs=1e-6)


def test_a_vendor_is_a_folder_with_plugins_beside_litert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npu, "_folder", lambda: tmp_path)
    for name in ("acme/compiler/libLiteRtCompilerPlugin_Acme.so", "empty/compiler/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert npu.vendors() == ["acme"]
    assert npu.environment_of({}) == {}
    assert npu.environment_of({"vendor": "acme"}) == {
        "compiler_plugin_path": str(tmp_path / "acme" / "compiler"),
        "dispatch_library_path": str(tmp_path / "acme" / "dispatch"),
    }


@pytest.mark.skipif("qualcomm" not in npu.vendors(), reason="this LiteRT has no plugin of Qualcomm's")
def test_what_is_missing_is_said_in_the_loaders_words(artifact_path: Path, pictures: Path) -> None:
    done = predict(artifact_path, pictures / "red.png", "--delegate", "npu:vendor=qualcomm", "--engine", "litert")
    assert re.fullmatch(
        r"irv2-predict: warning: delegate npu:vendor=qualcomm cannot be used: .* \(Could not load shared library .*"
        r"libLiteRtCompilerPlugin_Qualcomm\.so: libQnnHtp\.so: cannot open shared object file: .*\); it needs the "
        r"vendor's own runtime, where the loader finds it; the CPU is used instead\n",
        done.stderr,
    )
    assert done.returncode == 0
