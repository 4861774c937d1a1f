"""`irv2-convert attach`: the card and the labels of an artifact, for what a vendor's compiler made of it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.artifact_writer import package, write
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine
from edge_runtime import Classifier, DelegateError
from edge_runtime.arrays import Array
from edge_runtime.artifact import open_artifact
from edge_runtime.custom_operators import COMPILED_FOR, COMPILED_FROM
from edge_runtime.probe import Probe, answer_probe
from tests.conftest import Finished, run_command
from tests.convert.audit.auditing import IMAGES
from tests.convert.networks import SPEC, residual_network
from tests.edge_runtime.compiled_models import (
    EDGE_TPU,
    ETHOS_U,
    EVERYTHING,
    compiled,
    compiled_artifact,
    hardware_for,
    with_memory,
)
from tests.edge_runtime.foreign_models import ForeignModel
from tests.edge_runtime.plugins import COMPILER, SOURCE, compile_library
from tests.edge_runtime.refusals import EXPECTED
from tests.edge_runtime.tiny_model import (
    INT8_ANSWER,
    LABELS,
    SIZE,
    UINT8,
    expected_probabilities,
    tiny_artifact,
    tiny_flatbuffer,
)

CONVOLUTIONS = slice(1, 17)
"""The operators of the int8 network below between the pixels and the float head: what a compiler takes."""

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler called cc")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Write the tiny artifact, whose card is of a version that recorded no answer to the probe."""
    return tiny_artifact().write(tmp_path / "tiny.none.tflite")


@pytest.fixture(scope="module")
def int8_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an int8 artifact of a residual network: uint8 pixels, sixteen integer operators, a float head."""
    graph = TfliteGraph(residual_network(classes=len(LABELS)))
    weights = graph.named("FULLY_CONNECTED")[0].weights
    graph.set_constant(weights, graph.constant(weights) / 100)  # or one class is certain, whatever went wrong before
    float_model = graph.to_bytes()
    recipe, statistics = Recipe(SCHEMES["int8"], "uint8"), collect_statistics(float_model, IMAGES, SPEC)[0]
    quantized = quantize(float_model, recipe, SPEC, statistics)
    image, probabilities = quantized.io_specs
    probe = Probe(tuple(answer_probe(open_engine(quantized.model), SPEC, image).tolist()))
    card = replace(
        tiny_artifact().card, scheme="int8", preprocessing=SPEC, input=image, output=probabilities, probe=probe
    )
    path = tmp_path_factory.mktemp("int8") / "residual.int8.tflite"
    write(package(quantized.model, LABELS, card), path)
    return path


def attached(artifact: Path, content: bytes, *more: object) -> Finished:
    path = artifact.with_name("compiled.tflite")
    path.write_bytes(content)
    return run_command("irv2-convert", "attach", artifact, path, *more)


def flatbuffer_of(artifact: Path) -> bytes:
    return artifact.read_bytes()[: open_artifact(artifact).flatbuffer_bytes]


def test_the_compiled_bytes_get_card_and_labels(artifact: Path) -> None:
    content = compiled(tiny_flatbuffer())
    finished = attached(artifact, content)
    assert finished.code == 0, finished.err
    made = artifact.with_name("tiny.none.compiled.tflite")
    assert finished.out.strip() == str(made)
    opened, before = open_artifact(made), open_artifact(artifact)
    assert made.read_bytes().startswith(content)
    assert opened.labels == LABELS
    assert opened.card.preprocessing == before.card.preprocessing
    assert opened.card.probe is not None
    assert before.card.probe is None
    assert opened.card.probe.probabilities == pytest.approx(EXPECTED, abs=1e-6)
    assert opened.card.source[COMPILED_FOR] == [EDGE_TPU]
    assert opened.card.source[COMPILED_FROM] == before.card.sha256["flatbuffer"]
    described = " ".join(run_command("irv2-inspect", made).out.split())
    assert f"compiled from the flatbuffer {before.card.sha256['flatbuffer']}" in described


@needs_compiler
def test_it_runs_where_its_hardware_is(artifact: Path, tmp_path: Path) -> None:
    output, red = tmp_path / "elsewhere.tflite", np.full((SIZE, SIZE, 3), (220, 30, 40), np.uint8)
    assert attached(artifact, compiled(tiny_flatbuffer()), "--output", output).code == 0
    with Classifier.open(output, delegate=compile_library(SOURCE, tmp_path)) as classifier:
        assert classifier.receipt.unverified is None
        assert classifier.receipt.probe_difference == pytest.approx(0, abs=1e-6)
        assert classifier.probabilities(red)[0] == pytest.approx(expected_probabilities(red), abs=1e-6)


@needs_compiler
@pytest.mark.parametrize("operator", [EDGE_TPU, ETHOS_U])
def test_the_integer_part_of_a_real_network_runs_on_hardware_and_the_rest_on_the_cpu(
    operator: str, int8_artifact: Path, tmp_path: Path
) -> None:
    before, output = flatbuffer_of(int8_artifact), tmp_path / "compiled.int8.tflite"
    content = compiled(before, operator, CONVOLUTIONS)
    content = with_memory(content) if operator == ETHOS_U else content
    finished = attached(int8_artifact, content, "--output", output)
    assert finished.code == 0, finished.err
    plugin = compile_library(SOURCE, tmp_path)
    with (
        hardware_for(before, CONVOLUTIONS, plugin) as hardware,
        Classifier.open(output, delegate=hardware) as there,
        Classifier.open(int8_artifact, delegate="cpu") as here,
    ):
        assert (there.receipt.delegated, there.receipt.operations) == (1, 7)
        assert there.receipt.probe_difference == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(there.probabilities(IMAGES), here.probabilities(IMAGES), atol=1e-6)


@needs_compiler
@pytest.mark.parametrize(
    "change", [lambda answer: ~answer, lambda answer: np.roll(answer, 1, axis=-1)], ids=["sign", "channels"]
)
def test_hardware_that_computes_it_wrongly_is_found_out(
    change: Callable[[Array], Array], int8_artifact: Path, tmp_path: Path
) -> None:
    before, output = flatbuffer_of(int8_artifact), tmp_path / "compiled.int8.tflite"
    assert attached(int8_artifact, compiled(before, EDGE_TPU, CONVOLUTIONS), "--output", output).code == 0
    with (
        hardware_for(before, CONVOLUTIONS, compile_library(SOURCE, tmp_path), change) as hardware,
        pytest.raises(DelegateError, match=r"(probabilities differ from the CPU's|logits are off) by"),
    ):
        Classifier.open(output, delegate=hardware)


@pytest.mark.parametrize("what", ["card.json", "tiny.none.tflite.report.json"])
def test_the_card_or_the_report_do_as_well(what: str, tmp_path: Path) -> None:
    before = tiny_artifact()
    probed = replace(before, card=replace(before.card, probe=Probe(tuple(map(float, EXPECTED))))).signed()
    artifact = probed.write(tmp_path / "tiny.none.tflite")
    artifact.with_name("tiny.none.tflite.report.json").write_text('{"scheme": "none"}')
    with zipfile.ZipFile(artifact) as archive:
        archive.extractall(tmp_path)
    output = tmp_path / "compiled.none.tflite"
    finished = attached(tmp_path / what, compiled(tiny_flatbuffer()), "--output", output)
    assert finished.code == 0, finished.err
    assert open_artifact(output).labels == LABELS
    assert open_artifact(output).card.source[COMPILED_FROM] == probed.card.sha256["flatbuffer"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(None, "labels.txt is missing, or not that of"), ("green\nred\nblue\n", "labels.txt is missing, or not that of")],
    ids=["none", "in another order"],
)
def test_a_card_alone_needs_the_labels_that_it_was_signed_with(
    labels: str | None, reason: str, artifact: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(artifact) as archive:
        archive.extract("card.json", tmp_path)
    if labels is not None:
        (tmp_path / "labels.txt").write_text(labels)
    finished = attached(tmp_path / "card.json", compiled(tiny_flatbuffer()))
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert reason in finished.err


def test_a_changed_card_is_refused(artifact: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(artifact) as archive:
        archive.extractall(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, "scheme": "int8"}))
    finished = attached(tmp_path / "card.json", compiled(tiny_flatbuffer()))
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "the checksum of the card does not match" in finished.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiny_flatbuffer(), "has no custom operator: nothing in it is compiled"),
        (
            compiled(tiny_flatbuffer(size=SIZE + 1)),
            f"takes float32 [1, {SIZE + 1}, {SIZE + 1}, 3], ARTIFACT takes float32 [1, {SIZE}, {SIZE}, 3]",
        ),
        (
            compiled(tiny_flatbuffer(UINT8)),
            f"takes uint8 [1, {SIZE}, {SIZE}, 3] of scale 0.007843138 and zero point 128, ARTIFACT takes float32 [1, ",
        ),
        (b"not a model at all", "is not a TFLite model"),
        (compiled(tiny_flatbuffer())[:200], "compiled.tflite is damaged"),
    ],
    ids=["not compiled", "another size", "another data type", "no model", "cut off"],
)
def test_what_was_not_made_of_it_is_refused_in_one_line(artifact: Path, content: bytes, reason: str) -> None:
    finished = attached(artifact, content)
    assert finished.code == 1
    assert reason.replace("ARTIFACT", str(artifact)) in finished.err
    assert finished.err.count("\n") == 1
    assert not artifact.with_name("tiny.none.compiled.tflite").exists()


def test_another_scale_of_the_input_is_refused(int8_artifact: Path) -> None:
    content = flatbuffer_of(int8_artifact)
    other = replace(UINT8, scale=1 / 255, zero_point=0)
    finished = attached(int8_artifact, compiled(tiny_flatbuffer(other)))
    assert "of scale 0.003921569 and zero point 0" in finished.err
    assert attached(int8_artifact, compiled(content, EDGE_TPU, CONVOLUTIONS)).code == 0


def test_what_has_no_card_cannot_give_one(artifact: Path) -> None:
    artifact.write_bytes(tiny_flatbuffer())
    finished = attached(artifact, compiled(tiny_flatbuffer()))
    assert finished.code == 1
    assert "carries no card" in finished.err


def test_what_is_compiled_itself_and_knows_no_answer_is_refused(tmp_path: Path) -> None:
    artifact = compiled_artifact(probe=False).write(tmp_path / "tiny.none.tflite")
    finished = attached(artifact, compiled(tiny_flatbuffer()))
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "is compiled itself and records no answer to the probe: pass what it was made of" in finished.err


def test_the_artifact_itself_is_never_overwritten(artifact: Path) -> None:
    content = artifact.read_bytes()
    finished = attached(artifact, compiled(tiny_flatbuffer()), "--output", artifact)
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "is what the card comes from: write elsewhere" in finished.err
    assert artifact.read_bytes() == content


def test_compiled_again_it_keeps_what_it_was_first_compiled_from(artifact: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    assert attached(artifact, compiled(tiny_flatbuffer()), "--output", first).code == 0
    assert attached(first, compiled(tiny_flatbuffer(), ETHOS_U), "--output", second).code == 0
    source = open_artifact(second).card.source
    assert source[COMPILED_FOR] == [ETHOS_U]
    assert source[COMPILED_FROM] == open_artifact(artifact).card.sha256["flatbuffer"]


def test_checksums_can_be_verified_but_it_cannot_be_built_again(artifact: Path, tmp_path: Path) -> None:
    output, labels = tmp_path / "elsewhere.tflite", tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\n")
    assert attached(artifact, compiled(tiny_flatbuffer()), "--output", output).code == 0
    held = run_command("irv2-convert", "verify", output)
    assert held.code == 0
    assert f"compiled from the flatbuffer {open_artifact(artifact).card.sha256['flatbuffer']}; verify" in held.out
    refused = run_command("irv2-convert", "verify", output, "--labels", labels)
    assert refused.code == 1
    assert "verify what it was compiled from" in refused.err


@needs_compiler
@pytest.mark.filterwarnings("ignore:.* is not verified")
def test_without_a_card_probabilities_behind_hardware_are_not_taken_for_logits(tmp_path: Path) -> None:
    """A compiler takes the softmax along; 1,001 rounded probabilities, most of them 0, do not add up to 1."""
    classes, path = 1001, tmp_path / "compiled.tflite"
    weights = np.random.default_rng(3).normal(0, 2, (classes, 3)).astype(np.float32)
    before = ForeignModel(weights=weights, answer=INT8_ANSWER).flatbuffer()
    path.write_bytes(compiled(before))
    red = np.full((SIZE, SIZE, 3), (220, 30, 40), np.uint8)
    spec, labels = tiny_artifact().card.preprocessing, [str(i) for i in range(classes)]
    logits = weights.astype(np.float64) @ ((red[0, 0] - 127.5) / 127.5)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    with (
        hardware_for(before, EVERYTHING, compile_library(SOURCE, tmp_path)) as hardware,
        Classifier.open(path, delegate=hardware, spec=spec, labels=labels) as there,
    ):
        np.testing.assert_allclose(there.run(red), expected, atol=1 / 256)
        assert there.receipt.remarks == ()
