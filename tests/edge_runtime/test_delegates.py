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
from typing import Any

import numpy as np
import pytest

from edge_runtime import Classifier, DelegateError, EngineError, Receipt, delegation
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels
from edge_runtime.probe import IMAGE, Probe, probe_pixels
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.commands import environment, predict
from tests.edge_runtime.plugins import compile_library
from tests.edge_runtime.refusals import EXPECTED, REFUSALS, every_engine, every_refusal
from tests.edge_runtime.tiny_model import (
    LABELS,
    SIZE,
    SPEC,
    UINT8,
    expected_probabilities,
    tiny_artifact,
    tiny_flatbuffer,
)


def tiny_with_probe(path: Path, probabilities: Any) -> Path:
    """Write a tiny artifact whose card expects `probabilities` for the probe."""
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
    end: TensorSpec | None,
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
        rf" on {re.escape(str(plugin))}, 1 thread, 1 of 3 operations in 1 partition, "
        r"passed its trial in \d+ ms, within [\d.e-]+ of the CPU$",
        done.stdout,
    )
    assert (done.returncode, done.stderr) == (0, "")


# The probe


def test_the_picture_is_the_one_that_the_card_names(tmp_path: Path, plugin: Path) -> None:
    image = f"{IMAGE}, contrast 1/16"
    expected = expected_probabilities(probe_pixels(SIZE, SIZE, 3, image))
    assert np.abs(expected - EXPECTED).max() > 0.001
    tiny = tiny_artifact()
    card = replace(tiny.card, probe=Probe(tuple(map(float, expected)), image))
    path = replace(tiny, card=card).signed().write(tmp_path / "tiny.tflite")
    with Classifier.open(path, delegate=plugin, strict=True) as classifier:
        assert classifier.receipt.probe_difference == pytest.approx(0, abs=1e-6)


def test_a_file_without_a_card_is_shown_a_picture_of_which_it_is_not_certain(tmp_path: Path, plugin: Path) -> None:
    spec = replace(SPEC, std=(0.05, 0.05, 0.05))
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_flatbuffer())
    with Classifier.open(path, delegate=plugin, strict=True, spec=spec, labels=LABELS) as classifier:
        assert classifier.receipt.unverified is None
        assert classifier.receipt.probe_difference == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("off_by", "active"), [(0.0, True), (0.005, True), (0.02, False)])
def test_a_delegate_is_held_against_the_card(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, off_by: float, active: bool
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(delegation, "Engine", lambda *arguments: opened.append(arguments) or Engine(*arguments))
    path = tiny_with_probe(tmp_path / "tiny.tflite", EXPECTED + np.array([off_by, 0, 0]))
    if active:
        with Classifier.open(path, delegate=plugin, strict=True) as classifier:
            assert classifier.receipt.probe_difference == pytest.approx(off_by, abs=1e-6)
        assert len(opened) == 1  # the CPU was not asked
    else:
        with pytest.raises(DelegateError, match=r"differ from the CPU's by 0\.02 on the probe, more than 0\.0069"):
            Classifier.open(path, delegate=plugin, strict=True)
