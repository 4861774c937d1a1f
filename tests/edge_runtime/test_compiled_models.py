"""Files that only a delegate computes, because a vendor's compiler made them: no vendor's is here, a stand-in is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import ArtifactError, Classifier, DelegateError, EngineError
from edge_runtime.custom_operators import COMPILED
from edge_runtime.preprocess import Pixels
from edge_runtime.probe import INT8_SCHEMES, Probe
from tests.edge_runtime.commands import ROOT, predict, run
from tests.edge_runtime.compiled_models import EDGE_TPU, compiled, compiled_artifact, compiled_file
from tests.edge_runtime.foreign_models import ForeignModel, metadata
from tests.edge_runtime.refusals import EXPECTED, every_engine
from tests.edge_runtime.tiny_model import LABELS, SPEC, expected_probabilities

README = ROOT / "edge_runtime" / "README.md"
UNKNOWN = "no answer is known to compare with"


@every_engine
def test_the_delegate_answers_as_the_card_recorded_before_compiling(
    tmp_path: Path, plugin: Path, noise: Pixels, engine: str
) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    with Classifier.open(path, engine=engine, delegate=f"{plugin}:behaviour=claims-all") as classifier:
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert receipt.active == str(plugin)
    assert receipt.unverified is None
    assert receipt.probe_difference == pytest.approx(0, abs=1e-6)


@every_engine
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("answers-wrongly", "differ from the CPU's by"), ("fails-in-invoke", "the accelerator was unplugged")],
)
def test_one_that_answers_wrongly_is_an_error_as_there_is_no_cpu_to_go_on(
    tmp_path: Path, plugin: Path, engine: str, behaviour: str, reason: str, strict: bool
) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    with pytest.raises(DelegateError, match=reason):
        Classifier.open(path, engine=engine, delegate=f"{plugin}:behaviour={behaviour}", strict=strict)


@pytest.mark.parametrize("scheme", INT8_SCHEMES)
def test_integers_between_float_ends_may_be_rounded_in_another_way(tmp_path: Path, plugin: Path, scheme: str) -> None:
    """By 3.3 % of the largest probability, for instance, as LiteRT's own kernels do on EfficientNet-Lite0."""
    artifact = compiled_artifact()
    assert artifact.card.input.dtype == "float32"
    answer = np.array(EXPECTED) + 0.033 * np.max(EXPECTED) * np.array([1, -1, 0])
    rounded = replace(artifact.card, probe=Probe(tuple(map(float, answer))))
    path = replace(artifact, card=replace(rounded, scheme=scheme)).signed().write(tmp_path / "integers.tflite")
    with Classifier.open(path, delegate=plugin) as classifier:
        assert classifier.receipt.probe_difference == pytest.approx(0.033 * np.max(EXPECTED), abs=1e-6)
    floats = replace(artifact, card=rounded).signed().write(tmp_path / "floats.tflite")
    with pytest.raises(DelegateError, match="differ from the CPU's by"):
        Classifier.open(floats, delegate=plugin)


@pytest.mark.parametrize("operator", COMPILED)
def test_without_a_delegate_it_is_said_what_computes_it(tmp_path: Path, operator: str) -> None:
    path = compiled_artifact(operator).write(tmp_path / "tiny.tflite")
    hardware = COMPILED[operator]
    with pytest.raises(EngineError) as refused:
        Classifier.open(path)
    assert str(refused.value) == (
        f"{path} is compiled for {hardware.name} ({operator}), the CPU cannot compute it: {hardware.advice}"
    )


def test_without_a_card_it_is_said_too_and_where_a_card_comes_from(tmp_path: Path) -> None:
    path = compiled_file(tmp_path / "foreign.tflite")
    with pytest.raises(ArtifactError) as refused:
        Classifier.open(path)
    assert str(refused.value) == (
        f"{path} carries no card and is compiled for an Edge TPU ({EDGE_TPU}), the CPU cannot compute it: "
        "pass --delegate edgetpu; irv2-convert attach gives it the card of what it was compiled from, or pass "
        "--preprocessing"
    )


@pytest.mark.parametrize("delegate", ["gpu", "qnn"])
def test_a_delegate_for_other_hardware_is_not_even_loaded(delegate: str, tmp_path: Path, no_library: None) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    with pytest.raises(DelegateError) as refused:
        Classifier.open(path, delegate=delegate)
    assert str(refused.value) == (
        f"delegate {delegate} cannot be used: {path} is compiled for an Edge TPU ({EDGE_TPU}), {delegate} cannot "
        "compute it: pass --delegate edgetpu"
    )


@every_engine
@pytest.mark.parametrize("behaviour", ["claims-none", "static-shapes"])
def test_a_delegate_that_leaves_it_is_named_instead_of_an_unresolved_operator(
    behaviour: str, tmp_path: Path, plugin: Path, engine: str
) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    with pytest.raises(DelegateError, match=f"has no operator {EDGE_TPU}, and no delegate took it: pass --delegate"):
        Classifier.open(path, engine=engine, delegate=f"{plugin}:behaviour={behaviour}")


@pytest.mark.parametrize("operator", ["edgetpu-custom-op", "a-vendor-nobody-knows"])
@pytest.mark.parametrize(
    ("delegate", "advice"),
    [
        ("edgetpu:library=/nowhere/libedgetpu.so.1", "install Coral's libedgetpu1-std, or set IRV2_EDGETPU_LIBRARY"),
        ("/nowhere/libvendor.so", "get it from the hardware's vendor, and pass its path"),
        ("libvendor.so", "get it from the hardware's vendor, and pass its path"),
    ],
)
def test_where_a_missing_library_comes_from_is_said(
    tmp_path: Path, operator: str, delegate: str, advice: str, no_library: None
) -> None:
    path = compiled_artifact(operator).write(tmp_path / "tiny.tflite")
    with pytest.raises(EngineError, match=rf"^delegate {delegate} cannot be used: .*(No such file|no lib).*{advice}"):
        Classifier.open(path, delegate=delegate)


@every_engine
@pytest.mark.parametrize("operator", ["a-vendor-nobody-knows", "FlexErf"])
def test_of_other_custom_operators_the_way_out_is_said(tmp_path: Path, operator: str, engine: str) -> None:
    path = compiled_file(tmp_path / "foreign.tflite", operator)
    with pytest.raises(EngineError, match=f"has no operator {operator}, and no delegate .* built-in operators alone$"):
        Classifier.open(path, engine=engine, spec=SPEC, labels=LABELS)


def test_a_missing_library_is_said_without_strict_too(tmp_path: Path, no_library: None) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    with pytest.raises(DelegateError, match=r"delegate edgetpu cannot be used: no libedgetpu.so.1 .* install Coral's"):
        Classifier.open(path, delegate="edgetpu")


def test_of_an_unknown_operator_both_reasons_are_said(tmp_path: Path, no_library: None) -> None:
    path = compiled_file(tmp_path / "foreign.tflite", "a-vendor-nobody-knows")
    with pytest.raises(EngineError, match=r"no libedgetpu\.so\.1 .*; and without it .* a-vendor-nobody-knows"):
        Classifier.open(path, delegate="edgetpu", spec=SPEC, labels=LABELS)


def test_the_same_reason_is_said_once(tmp_path: Path, plugin: Path) -> None:
    path = compiled_file(tmp_path / "foreign.tflite", "a-vendor-nobody-knows")
    with pytest.raises(EngineError) as refused:
        Classifier.open(path, delegate=f"{plugin}:behaviour=claims-none", spec=SPEC, labels=LABELS)
    assert str(refused.value).count("has no operator a-vendor-nobody-knows") == 1


@every_engine
@pytest.mark.parametrize("operator", ["edgetpu-custom-op", "a-vendor-nobody-knows"])
def test_without_a_recorded_answer_it_runs_and_the_receipt_says_unverified(
    tmp_path: Path, plugin: Path, noise: Pixels, engine: str, operator: str
) -> None:
    path = compiled_file(tmp_path / "foreign.tflite", operator)
    request = f"{plugin}:behaviour=claims-all"
    with (
        pytest.warns(RuntimeWarning, match="claims-all is not verified: no answer is known to compare with"),
        Classifier.open(path, engine=engine, delegate=request, spec=SPEC, labels=LABELS) as classifier,
    ):
        receipt, answer = classifier.receipt, classifier.probabilities(noise)[0]
    assert answer == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert receipt.probe_difference is None
    assert receipt.unverified == f"{UNKNOWN}: there is no card, and the CPU cannot compute the model"


@pytest.mark.filterwarnings("ignore:.* is not verified")
def test_a_card_of_an_early_version_is_not_called_missing(tmp_path: Path, plugin: Path) -> None:
    path = compiled_artifact(probe=False).write(tmp_path / "tiny.tflite")
    with Classifier.open(path, delegate=plugin) as classifier:
        unverified = classifier.receipt.unverified
    assert unverified == f"{UNKNOWN}: the card has none, and the CPU cannot compute the model"


def test_an_expected_answer_that_wrong_logits_give_too_verifies_nothing(
    tmp_path: Path, plugin: Path, pictures: Path
) -> None:
    artifact = compiled_artifact()
    certain = replace(artifact.card, probe=Probe((0.0, 1.0, 0.0)))
    path = replace(artifact, card=certain).signed().write(tmp_path / "tiny.tflite")
    said = predict(path, pictures / "red.png", "--delegate", f"{plugin}:behaviour=answers-wrongly")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip().endswith(", unverified")
    assert "are not verified: the expected answer to the probe is all 0 and 1" in said.stderr


def test_one_that_answers_nan_is_refused_even_so(tmp_path: Path, plugin: Path) -> None:
    path = compiled_artifact(probe=False).write(tmp_path / "tiny.tflite")
    with pytest.raises(DelegateError, match="its probabilities are not finite on the probe"):
        Classifier.open(path, delegate=f"{plugin}:behaviour=answers-nan")


def test_the_command_says_unverified_on_both_streams(tmp_path: Path, plugin: Path, pictures: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{label}\n" for label in LABELS))
    more = ["--preprocessing", "tf", "--labels", str(labels), "--delegate", f"{plugin}:behaviour=claims-all"]
    path = compiled_file(tmp_path / "foreign.tflite")
    said = predict(path, pictures / "red.png", *more)
    assert said.returncode == 0, said.stderr
    assert "unverified" in said.stdout
    assert "are not verified: no answer is known to compare with" in said.stderr
    answered = json.loads(predict(path, pictures / "red.png", *more, "--json").stdout)
    assert answered["predictions"][0]["label"] == "red"
    assert answered["receipt"]["unverified"].startswith("no answer is known")


def test_the_benchmark_says_unverified_on_both_streams(tmp_path: Path, plugin: Path) -> None:
    path = compiled_artifact(probe=False).write(tmp_path / "tiny.tflite")
    said = run("edge_runtime.benchmark", path, "--runs", 2, "--delegate", plugin)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1].endswith(", unverified")
    assert "are not verified: no answer is known to compare with" in said.stderr
    report = json.loads(run("edge_runtime.benchmark", path, "--runs", 2, "--delegate", plugin, "--json").stdout)
    assert report["inference"][0]["receipt"]["unverified"].startswith("no answer is known")


@pytest.mark.parametrize("operator", ["edgetpu-custom-op", "a-vendor-nobody-knows"])
def test_the_benchmark_saves_its_delegate_without_a_cpu_to_compare_with(
    tmp_path: Path, plugin: Path, pictures: Path, operator: str
) -> None:
    path = compiled_artifact(operator).write(tmp_path / "tiny.tflite")
    saved = run("edge_runtime.benchmark", path, "--runs", 2, "--save", "--delegate", plugin)
    assert saved.returncode == 0, saved.stderr
    assert f"{plugin} is the fastest, and what auto uses from now on" in saved.stdout
    assert json.loads(predict(path, pictures / "red.png", "--json").stdout)["receipt"]["active"] == str(plugin)


def test_the_benchmark_finds_the_hardware_by_itself(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    monkeypatch.setenv("IRV2_EDGETPU_LIBRARY", str(plugin))
    saved = run("edge_runtime.benchmark", path, "--runs", 2, "--save")
    assert saved.returncode == 0, saved.stderr
    assert "edgetpu is the fastest, and what auto uses from now on" in saved.stdout
    monkeypatch.delenv("IRV2_EDGETPU_LIBRARY")
    refused = run("edge_runtime.benchmark", path, "--runs", 2, "--save")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "the CPU cannot compute it: pass --delegate edgetpu" in refused.stderr


def test_labels_that_a_compiler_left_out_are_not_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(compiled(ForeignModel(metadata=metadata()).flatbuffer()))
    with pytest.raises(ArtifactError, match=r"its compiler left 'labels\.txt' out: irv2-convert attach adds it"):
        Classifier.open(path)


@pytest.mark.parametrize("operator", COMPILED)
def test_every_hardware_is_documented(operator: str) -> None:
    row = next(line for line in README.read_text().splitlines() if f"| `{operator}` |" in line)
    assert (COMPILED[operator].delegate or COMPILED[operator].advice) in row
