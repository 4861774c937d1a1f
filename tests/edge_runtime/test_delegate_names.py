"""What a delegate is called, and where its library is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime import Classifier, DelegateError, delegates, npu
from edge_runtime.delegates import DELEGATES, DelegateRequest, find_library
from edge_runtime.engines import EngineChoice, choose_engine
from tests.edge_runtime.commands import predict


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
    with pytest.raises(
        DelegateError, match=f"delegate '{text}' is unknown: choose cpu, gpu, npu, nnapi, edgetpu, qnn, or"
    ):
        Classifier.open(artifact_path, delegate=text)


def test_an_npu_needs_litert(artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = EngineChoice("tflite-runtime", "2.14", "tflite_runtime.interpreter")
    monkeypatch.setattr("edge_runtime.classifier.choose_engine", lambda _: chosen)
    with pytest.raises(DelegateError) as raised:
        Classifier.open(artifact_path, delegate="npu", strict=True)
    assert str(raised.value) == (
        "delegate npu cannot be used: engine tflite-runtime has no npu: use engine litert, version 2 or later, whose "
        "CompiledModel has plugins of the vendors"
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("vendor=nobody", "LiteRT has no plugin here for 'nobody': choose .*intel_openvino"),
        ("precision=fp16", "npu has no option 'precision': choose vendor or device"),
        ("device=CPU", "npu cannot compute on device=CPU: choose NPU, GPU, CPU, with vendor=intel_openvino"),
        ("vendor=qualcomm,device=NPU", "npu cannot compute on device=NPU: "),
        ("vendor=intel_openvino,device=TPU", "npu cannot compute on device=TPU: "),
    ],
)
def test_an_option_that_an_npu_does_not_have_comes_with_those_it_has(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, reason: str
) -> None:
    monkeypatch.setattr(npu, "vendors", lambda: ["intel_openvino", "qualcomm"])
    with pytest.raises(DelegateError, match=reason):
        Classifier.open(artifact_path, delegate=f"npu:{options}", strict=True)


@pytest.mark.parametrize("text", ["cpu:threads=2", "gpu:precision=fp16"])
def test_options_that_would_be_ignored_are_refused(text: str) -> None:
    with pytest.raises(DelegateError, match="takes no options"):
        DelegateRequest.parse(text)


def test_wrong_delegates_are_wrong_usage(artifact_path: Path) -> None:
    done = predict(artifact_path, "a.jpg", "--delegate", "gpus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "delegate 'gpus' is unknown" in done.stderr


@pytest.mark.usefixtures("no_library")
@pytest.mark.filterwarnings("ignore:NNAPI")
@pytest.mark.parametrize("name", [name for name, kind in DELEGATES.items() if kind.libraries])
def test_without_a_library_the_reason_says_what_to_do(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind = DELEGATES[name]
    without_compiled_model = choose_engine("auto")._replace(name="tflite-runtime")
    monkeypatch.setattr("edge_runtime.classifier.choose_engine", lambda _: without_compiled_model)
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
