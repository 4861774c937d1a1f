"""A delegate of our own, in C, that goes wrong in every way: what becomes of it, and what the receipt says.

Expected answers come from the average colour, as everywhere; on every interpreter that is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_runtime import Classifier, DelegateError, EngineError, Receipt, delegates
from edge_runtime.card import TensorEnd
from edge_runtime.delegates import COMPILED, DELEGATES, DelegateRequest, find_library
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels
from edge_runtime.probe import Probe, probe_pixels
from tests.edge_runtime.commands import environment, predict
from tests.edge_runtime.plugins import INSTALLED, compile_library
from tests.edge_runtime.tiny_model import PIXEL_SCALE, SIZE, expected_probabilities, tiny_artifact

UINT8 = TensorEnd("image", "uint8", PIXEL_SCALE, 128, "pixels")
EXPECTED = expected_probabilities(probe_pixels(SIZE, SIZE))
REFUSALS = {
    "refuses": r"libplugin\.so refuses: this device is reserved$",
    "null": r"libplugin\.so refuses: it does not say why$",
    "unheard-of": r"libplugin\.so refuses: unknown behaviour$",
    "fails-in-prepare": r" refuses the model: the driver is too old",
    "fails-in-kernel-prepare": r" refuses the model: no memory left on the accelerator",
    "fails-in-invoke": r" failed: the accelerator was unplugged",
    "answers-wrongly": r"its probabilities differ from the CPU's by 0\.\d+ on the probe, more than 0\.0\d+$",
    "answers-nan": r"its probabilities differ from the CPU's by nan on the probe, more than 0\.0\d+$",
    "claims-none": r"it takes none of the model's 3 operations$",
}
"""Behaviour of the plugin -> the reason for which it is not used."""

every_engine = pytest.mark.parametrize("engine", INSTALLED)
every_refusal = pytest.mark.parametrize("behaviour", REFUSALS)


def tiny_with_probe(path: Path, probabilities: Any) -> Path:
    """A tiny artifact whose card expects `probabilities` of the probe."""
    tiny = tiny_artifact()
    return replace(tiny, card=replace(tiny.card, probe=Probe(tuple(map(float, probabilities))))).signed().write(path)


# What does not prove itself


@every_engine
@every_refusal
def test_what_goes_wrong_leads_back_to_the_cpu(
    artifact_path: Path, plugin: Path, noise: Pixels, capfd: pytest.CaptureFixture[str], engine: str, behaviour: str
) -> None:
    request = f"{plugin}:behaviour={behaviour}"
    with (
        pytest.warns(RuntimeWarning, match="; the CPU is used instead$"),
        Classifier.open(artifact_path, engine=engine, delegate=request) as classifier,
    ):
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert re.match(f"delegate {re.escape(request)} cannot be used: .*{REFUSALS[behaviour]}", receipt.fallback or "")
    assert receipt == Receipt(
        requested=request,
        active="cpu",
        engine=engine,
        version=choose_engine(engine).version,
        device="cpu",
        library=None,
        threads=os.cpu_count() or 1,
        workers=1,
        operations=3,
        delegated=0,
        partitions=0,
        probe_difference=None,
        fallback=receipt.fallback,
        warning=None,
    )
    assert capfd.readouterr() == ("", "")


@every_engine
@every_refusal
def test_strictly_it_is_an_error(artifact_path: Path, plugin: Path, engine: str, behaviour: str) -> None:
    with pytest.raises(DelegateError, match=REFUSALS[behaviour]):
        Classifier.open(artifact_path, engine=engine, delegate=f"{plugin}:behaviour={behaviour}", strict=True)


@every_engine
@every_refusal
def test_the_command_says_it_in_one_line(
    artifact_path: Path, plugin: Path, pictures: Path, engine: str, behaviour: str
) -> None:
    options = ("--engine", engine, "--delegate", f"{plugin}:behaviour={behaviour}")
    done = predict(artifact_path, pictures / "blue.png", *options)
    assert done.stdout.splitlines()[1].split()[0] == "blue"
    assert done.stdout.splitlines()[-1].startswith(f"{engine} {choose_engine(engine).version} on cpu, ")
    assert re.fullmatch(
        r"irv2-predict: warning: delegate .* cannot be used: .*; the CPU is used instead\n", done.stderr
    )
    assert done.returncode == 0
    done = predict(artifact_path, pictures / "blue.png", *options, "--strict")
    assert re.fullmatch(r"irv2-predict: error: delegate .* cannot be used: .*\n", done.stderr)
    assert re.search(REFUSALS[behaviour], done.stderr)
    assert (done.returncode, done.stdout) == (1, "")


@every_engine
def test_a_library_in_a_script_says_nothing_but_our_warning(artifact_path: Path, plugin: Path, engine: str) -> None:
    code = """if True:
        import gc, sys
        from edge_runtime import Classifier
        for delegate in sys.argv[3:]:
            Classifier.open(sys.argv[1], engine=sys.argv[2], delegate=delegate).close()
            gc.collect()
    """
    missing = [str(plugin.with_name("missing.so")), str(artifact_path) + ".so"]
    wanted = [*missing, *(f"{plugin}:behaviour={behaviour}" for behaviour in REFUSALS)]
    Path(wanted[1]).write_text("no library")
    line = [sys.executable, "-W", "error::ResourceWarning", "-c", code, str(artifact_path), engine, *wanted]
    done = subprocess.run(line, capture_output=True, env=environment(), timeout=120, check=True, text=True)
    warned = [text for text in done.stderr.splitlines() if not text.startswith("  ")]
    assert len(warned) == len(wanted)
    assert all("RuntimeWarning: delegate " in text for text in warned)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "cannot be loaded: .*No such file"),
        (lambda path: path.write_text("not a library"), "cannot be loaded: "),
        (lambda path: path.mkdir(), "cannot be loaded: "),
    ],
)
def test_a_file_that_is_no_library(
    artifact_path: Path, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "libx.so")
    with pytest.raises(DelegateError, match=reason):
        Classifier.open(artifact_path, delegate=tmp_path / "libx.so", strict=True)


@pytest.mark.parametrize(
    "exported",
    [
        "int a;",
        "void *tflite_plugin_create_delegate(void) { return 0; }",
        "void tflite_plugin_destroy_delegate(void) {}",
    ],
)
def test_a_library_that_is_no_delegate(artifact_path: Path, plugin: Path, tmp_path: Path, exported: str) -> None:
    (tmp_path / "other.c").write_text(exported)
    library = compile_library(tmp_path / "other.c", tmp_path)
    with pytest.raises(DelegateError, match=r"libother\.so is not a delegate: .*tflite_plugin_"):
        Classifier.open(artifact_path, delegate=library, strict=True)


# What proves itself


@every_engine
def test_a_delegate_that_takes_everything(artifact_path: Path, plugin: Path, noise: Pixels, engine: str) -> None:
    with Classifier.open(artifact_path, engine=engine, delegate=plugin, strict=True) as classifier:
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert (receipt.requested, receipt.active, receipt.library) == (str(plugin), str(plugin), str(plugin))
    assert (receipt.operations, receipt.delegated, receipt.partitions) == (3, 3, 1)
    assert 0 <= (receipt.probe_difference or 0) < 1e-6
    assert receipt.fallback is None


@every_engine
@pytest.mark.parametrize(
    ("end", "behaviour", "operations", "delegated"),
    [(UINT8, "claims-all", 4, 4), (UINT8, "claims-one", 4, 1), (None, "claims-one", 3, 1)],
)
def test_the_receipt_counts_operations_and_not_those_of_xnnpack(
    plugin: Path,
    tmp_path: Path,
    noise: Pixels,
    engine: str,
    end: TensorEnd | None,
    behaviour: str,
    operations: int,
    delegated: int,
) -> None:
    path = tiny_artifact(end).write(tmp_path / "tiny.tflite")
    with Classifier.open(path, engine=engine, delegate=f"{plugin}:behaviour={behaviour}", strict=True) as classifier:
        receipt = classifier.receipt
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert (receipt.operations, receipt.delegated, receipt.partitions) == (operations, delegated, 1)


@every_engine
def test_a_delegate_that_dies_later_is_an_error_then(
    artifact_path: Path, plugin: Path, noise: Pixels, engine: str
) -> None:
    request = f"{plugin}:behaviour=dies-later"
    with Classifier.open(artifact_path, engine=engine, delegate=request, strict=True) as classifier:
        answers = [classifier.run(noise) for _ in range(2)]
        with pytest.raises(EngineError, match="the accelerator was unplugged"):
            classifier.run(noise)
    assert np.array_equal(*answers)


@every_engine
def test_every_worker_has_a_delegate_of_its_own(artifact_path: Path, plugin: Path, noise: Pixels, engine: str) -> None:
    with Classifier.open(artifact_path, engine=engine, delegate=plugin, workers=3, strict=True) as classifier:
        assert (classifier.receipt.workers, classifier.receipt.delegated) == (3, 3)
        rows = classifier.probabilities([noise] * 30)
    assert rows == pytest.approx(np.tile(expected_probabilities(noise), (30, 1)), abs=1e-6)


def test_the_command_reports_the_share_of_the_delegate(artifact_path: Path, plugin: Path, pictures: Path) -> None:
    done = predict(artifact_path, pictures / "red.png", "--delegate", f"{plugin}:behaviour=claims-one", "--threads", 1)
    assert re.search(
        rf" on {re.escape(str(plugin))}, 1 thread, 1 of 3 operations in 1 piece, within [\d.e-]+ of the CPU$",
        done.stdout,
    )
    assert (done.returncode, done.stderr) == (0, "")


# The probe


@pytest.mark.parametrize(("off_by", "active"), [(0.0, True), (0.005, True), (0.02, False)])
def test_a_delegate_is_held_against_the_card(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, off_by: float, active: bool
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(delegates, "Engine", lambda *arguments: opened.append(arguments) or Engine(*arguments))
    path = tiny_with_probe(tmp_path / "tiny.tflite", EXPECTED + np.array([off_by, 0, 0]))
    if active:
        with Classifier.open(path, delegate=plugin, strict=True) as classifier:
            assert classifier.receipt.probe_difference == pytest.approx(off_by, abs=1e-6)
        assert len(opened) == 1  # the CPU was not asked
    else:
        with pytest.raises(DelegateError, match=r"differ from the CPU's by 0\.02 on the probe, more than 0\.0069"):
            Classifier.open(path, delegate=plugin, strict=True)


# Names and libraries


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("cpu", "cpu", {}),
        ("nnapi", "nnapi", {}),
        ("edgetpu:device=usb:0", "edgetpu", {"device": "usb:0"}),
        ("qnn:backend_type=htp,library=/opt/q.so", "qnn", {"backend_type": "htp", "library": "/opt/q.so"}),
        ("/opt/a:b/libx.so", "/opt/a:b/libx.so", {}),
        ("./libx.so:list=a,b,c,key=", "./libx.so", {"list": "a,b,c", "key": ""}),
        ("libx.so.2:a=b=c", "libx.so.2", {"a": "b=c"}),
    ],
)
def test_a_request_is_a_name_and_options(text: str, name: str, options: dict[str, str]) -> None:
    assert DelegateRequest.parse(text) == DelegateRequest(text, name, options)


@pytest.mark.parametrize("text", ["", "gpus", "GPU", "nnapi:", "nnapi:fast", "gpu cpu"])
def test_an_unknown_delegate_comes_with_the_known_ones(artifact_path: Path, text: str) -> None:
    with pytest.raises(DelegateError, match=f"delegate '{text}' is unknown: choose cpu, gpu, nnapi, edgetpu, qnn, or"):
        Classifier.open(artifact_path, delegate=text)


@pytest.mark.parametrize("text", ["cpu:threads=2", "gpu:precision=fp16"])
def test_options_that_would_be_ignored_are_refused(text: str) -> None:
    with pytest.raises(DelegateError, match="takes no options"):
        DelegateRequest.parse(text)


def test_wrong_delegates_are_wrong_usage(artifact_path: Path) -> None:
    done = predict(artifact_path, "a.jpg", "--delegate", "gpus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "delegate 'gpus' is unknown" in done.stderr


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """No delegate is installed on this system, and none is configured."""
    monkeypatch.setattr(delegates, "SYSTEM_FOLDERS", ())
    for kind in DELEGATES.values():
        monkeypatch.delenv(kind.variable, raising=False)
    monkeypatch.setitem(sys.modules, COMPILED, None)


@pytest.mark.usefixtures("no_library")
@pytest.mark.filterwarnings("ignore:NNAPI")
@pytest.mark.parametrize("name", DELEGATES)
def test_without_a_library_the_reason_says_what_to_do(artifact_path: Path, name: str) -> None:
    kind = DELEGATES[name]
    with pytest.raises(DelegateError) as raised:
        Classifier.open(artifact_path, delegate=name, strict=True)
    assert str(raised.value) == (
        f"delegate {name} cannot be used: no {' or '.join(kind.libraries)} in the system's library folders: "
        f"{kind.advice}, or set {kind.variable} to the path of a plugin library"
    )


@pytest.mark.usefixtures("no_library")
@pytest.mark.filterwarnings("ignore:NNAPI")
def test_no_library_is_taken_from_the_working_directory_or_beside_the_model(
    artifact_path: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("libnnapi_delegate.so", "libvx_delegate.so"):
        (artifact_path.parent / name).write_bytes(plugin.read_bytes())
    monkeypatch.chdir(artifact_path.parent)
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    for request in ("nnapi", "libvx_delegate.so"):
        with pytest.raises(DelegateError, match="in the system's library folders"):
            Classifier.open(artifact_path, delegate=request, strict=True)


@pytest.mark.usefixtures("no_library")
def test_the_first_system_folder_counts(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("empty", "first", "second")]
    for folder in folders:
        folder.mkdir()
    for folder in folders[1:]:
        (folder / "libnnapi_delegate.so").touch()
    monkeypatch.setattr(delegates, "SYSTEM_FOLDERS", tuple(map(str, folders)))
    assert find_library(DelegateRequest.parse("nnapi")) == folders[1] / "libnnapi_delegate.so"
    assert find_library(DelegateRequest.parse("nnapi:library=/opt/other.so")) == Path("/opt/other.so")
    monkeypatch.setenv("IRV2_NNAPI_LIBRARY", str(plugin))
    assert find_library(DelegateRequest.parse("nnapi")) == plugin
    assert find_library(DelegateRequest.parse("nnapi:library=/opt/other.so")) == Path("/opt/other.so")


@pytest.mark.usefixtures("no_library")
@pytest.mark.filterwarnings("ignore:NNAPI")
def test_a_relative_path_in_the_environment_is_refused(
    artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plugin.parent)
    monkeypatch.setenv("IRV2_NNAPI_LIBRARY", plugin.name)
    with pytest.raises(DelegateError, match=r"IRV2_NNAPI_LIBRARY is 'libplugin\.so': set it to the absolute path"):
        Classifier.open(artifact_path, delegate="nnapi", strict=True)


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


def compiled_module(make: Callable[..., Any]) -> ModuleType:
    """A stand-in for `edge_runtime.compiled`."""
    module = ModuleType(COMPILED)
    module.CompiledEngine = make  # type: ignore[attr-defined]
    return module


class FakeCompiledEngine(Engine):
    """Computes on the CPU what a GPU would; `made` keeps how each was asked for."""

    made: list[str] = []  # noqa: RUF012
    device = "a graphics card"

    def __init__(self, model: Path, choice: Any, accelerator: str) -> None:
        super().__init__(model, choice, 1)
        self.made.append(accelerator)
        del self.placement  # CompiledModel does not tell


@pytest.mark.usefixtures("no_library")
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


@pytest.mark.usefixtures("no_library")
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
@pytest.mark.parametrize("compiled", [None, FakeCompiledEngine])
def test_gpu_is_the_plugin_library_where_one_is_named_or_nothing_else_is_there(
    artifact_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, compiled: Any
) -> None:
    monkeypatch.setitem(sys.modules, COMPILED, None if compiled is None else compiled_module(compiled))
    monkeypatch.setenv("IRV2_GPU_LIBRARY", str(plugin))
    with Classifier.open(artifact_path, delegate="gpu", strict=True) as classifier:
        assert (classifier.receipt.active, classifier.receipt.library) == ("gpu", str(plugin))
