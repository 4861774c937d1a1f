"""`irv2-inspect --bisect` against a delegate, in C, that spoils one operator: it is the one that is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.tflite.graph import TfliteGraph
from edge_runtime.preprocess import Pixels
from tests.conftest import DemoArtifact, run_command
from tests.edge_runtime.compiled_models import compiled_artifact
from tests.edge_runtime.plugins import COMPILER, SOURCE, compile_library
from tests.edge_runtime.tiny_model import SIZE, SPEC, UINT8, tiny_artifact, tiny_flatbuffer

TINY = ("colour", "logits", "softmax")
"""What the operators of the tiny network write."""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("there is no C compiler called cc to build plugin.c with")
    return compile_library(SOURCE, tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_artifact().write(tmp_path / "tiny.tflite")


def bisected(model: Path, delegate: str, code: int) -> dict[str, Any]:
    """Return what `--bisect --json` says; the number of comparisons is held wherever it is called."""
    finished = run_command("irv2-inspect", model, "--bisect", "--delegate", delegate, "--json")
    assert (finished.code, finished.err) == (code, "")
    found: dict[str, Any] = json.loads(finished.out)["bisect"]
    assert found["most_comparisons"] == ceil(log2(found["operators"])) + 1
    assert len(found["comparisons"]) <= found["most_comparisons"]
    assert found["comparisons"][0]["operators"] == found["operators"]
    return found


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_operator_of_the_tiny_network_is_found(tiny: Path, plugin: Path, number: int) -> None:
    found = bisected(tiny, f"{plugin}:spoils={TINY[number - 1]}", 3)
    first = found["first_wrong"]
    assert (found["verdict"], found["operators"], first["number"]) == ("wrong", 3, number)
    assert first["operator"] == ("MEAN", "FULLY_CONNECTED", "SOFTMAX")[number - 1]
    assert [(each["name"], each["dtype"], each["shape"]) for each in first["outputs"]] == [
        (TINY[number - 1], "float32", [1, 3])
    ]
    assert first["after"]["verdict"] == "wrong"
    assert (first["before"] or {"verdict": "right"})["verdict"] == "right"


def test_how_wrong_it_is_follows_from_the_picture(tiny: Path, plugin: Path, noise: Pixels) -> None:
    """The plugin writes the byte 64 everywhere, 0x40404040 as a float; right is the probe's mean colour."""
    spoiled = np.frombuffer(bytes([64] * 4), np.float32)[0]
    colour = ((noise.astype(np.float64) - SPEC.mean) / SPEC.std).mean(axis=(0, 1))
    after = bisected(tiny, f"{plugin}:spoils=colour", 3)["first_wrong"]["after"]
    assert after["tensor"] == "colour"
    assert after["max_abs_error"] == pytest.approx(np.abs(spoiled - colour).max(), rel=1e-4)
    ratio = (colour**2).sum() / ((spoiled - colour) ** 2).sum()
    assert after["sqnr_db"] == pytest.approx(10 * np.log10(ratio), abs=0.01)


@pytest.fixture
def noise() -> Pixels:
    """Return the probe."""
    words = np.random.Philox(key=0).random_raw(SIZE * SIZE * 3 // 8)
    return words.astype("<u8").view(np.uint8).reshape(SIZE, SIZE, 3)


def test_a_delegate_that_is_right_takes_one_comparison(tiny: Path, plugin: Path) -> None:
    found = bisected(tiny, f"{plugin}:spoils=nothing", 0)
    assert (found["verdict"], found["first_wrong"], len(found["comparisons"])) == ("right", None, 1)
    assert found["comparisons"][0]["max_abs_error"] < 1e-6


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("crashes-in-invoke", r"killed the process that tried it \(SIGSEGV\)"), ("fails-in-invoke", "was unplugged")],
)
def test_an_operator_on_which_it_crashes_or_fails_is_found_too(
    tiny: Path, plugin: Path, behaviour: str, reason: str
) -> None:
    found = bisected(tiny, f"{plugin}:spoils=logits,behaviour={behaviour}", 3)
    assert (found["verdict"], found["first_wrong"]["number"]) == ("fails", 2)
    assert re.search(reason, found["first_wrong"]["after"]["reason"])
    assert found["first_wrong"]["before"]["verdict"] == "right"


def test_a_delegate_that_cannot_be_had_at_all_is_one_line(tiny: Path, plugin: Path) -> None:
    def refusal(delegate: str) -> str:
        finished = run_command("irv2-inspect", tiny, "--bisect", "--delegate", delegate)
        assert (finished.code, finished.out, finished.err.count("\n")) == (1, "", 1)
        return finished.err

    assert "fails on every part of the model: " in refusal(f"{plugin}:behaviour=refuses")
    assert "/nowhere.so cannot be loaded: No such file" in refusal("/nowhere.so")
    assert "pass --delegate with another one" in refusal("cpu")
    assert "delegate 'gpus' is unknown: choose cpu, gpu, " in refusal("gpus")


def test_what_is_compiled_already_has_nothing_to_compare_with(plugin: Path, tmp_path: Path) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    finished = run_command("irv2-inspect", path, "--bisect", "--delegate", plugin)
    assert (finished.code, finished.out, finished.err.count("\n")) == (1, "", 1)
    assert "is compiled for an Edge TPU" in finished.err


@pytest.mark.parametrize("options", [("--bisect",), ("--delegate", "gpu")])
def test_one_without_the_other_is_wrong_usage(tiny: Path, options: tuple[str, ...]) -> None:
    finished = run_command("irv2-inspect", tiny, *options)
    assert finished.code == 2
    assert "--delegate and --bisect belong together" in finished.err


@pytest.mark.parametrize(("off", "verdict"), [(0.03, "right"), (0.06, "wrong")])
def test_probabilities_are_right_as_near_as_the_probe_asks(
    plugin: Path, tmp_path: Path, off: float, verdict: str
) -> None:
    """Of an integer network a tenth of the largest one, near 1/3 here, although a ratio of 30 dB asks for 0.018."""
    integers = tiny_artifact(UINT8).write(tmp_path / "tiny.tflite")
    found = bisected(integers, f"{plugin}:spoils=softmax,off={off}", 0 if verdict == "right" else 3)
    assert (found["verdict"], found["comparisons"][0]["tensor"]) == (verdict, "softmax")
    assert found["comparisons"][0]["max_abs_error"] == pytest.approx(off, abs=1e-4)
    assert found["comparisons"][0]["sqnr_db"] < 30


def test_a_file_without_a_card_is_given_noise(plugin: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_flatbuffer(UINT8))
    found = bisected(path, f"{plugin}:spoils=colour", 3)
    assert found["given"].startswith("noise (")
    assert (found["operators"], found["first_wrong"]["number"], found["first_wrong"]["operator"]) == (4, 2, "MEAN")
    (read, axes) = found["first_wrong"]["inputs"]
    assert (read["name"], read["shape"], read["constant"]) == ("real", [1, SIZE, SIZE, 3], False)
    assert axes["constant"]


def test_the_text_can_be_attached_to_a_bug(tiny: Path, plugin: Path) -> None:
    finished = run_command("irv2-inspect", tiny, "--bisect", "--delegate", f"{plugin}:spoils=logits")
    lines = finished.out.splitlines()
    assert lines[0] == (
        f"wrong: operator 2 of 3, FULLY_CONNECTED logits, is the first that {plugin}:spoils=logits computes wrongly; "
        "3 of at most 3 comparisons"
    )
    assert "  reads  float32 [3, 3] weights, constant" in lines
    assert "  writes float32 [1, 3] logits" in lines
    assert "  before right, equal in colour" in lines
    assert any(re.fullmatch(r"  after  wrong, -[\d.]+ dB, off by at most [\d.]+, in logits", line) for line in lines)
    assert any(line.startswith("CPU      litert ") for line in lines)
    assert finished.code == 3


def on_the_way(graph: TfliteGraph) -> list[str]:
    """Return what the operators write that depend on the input: of a network of ours, all but those of constants."""
    reached, names = set(graph.inputs), []
    for operator in graph.operators:
        if reached & set(operator.inputs):
            reached |= set(operator.outputs)
            names.append(graph.tensor_name(operator.outputs[0]))
    return names


@pytest.mark.parametrize("scheme", ["none", "int8", "int16x8"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.62, 0.95])
def test_one_among_branches_is_found(
    of_scheme: Callable[[str, str], bytes], plugin: Path, tmp_path: Path, scheme: str, share: float
) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(of_scheme(scheme, "float32"))
    names = on_the_way(TfliteGraph(path.read_bytes()))
    planted = int(share * len(names))
    found = bisected(path, f"{plugin}:spoils={names[planted]}", 3)
    assert (found["operators"], found["first_wrong"]["number"]) == (len(names), planted + 1)
    assert found["first_wrong"]["outputs"][0]["name"] == names[planted]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.77])
def test_one_of_the_demo_is_found(demo_artifact: DemoArtifact, plugin: Path, share: float) -> None:
    names = on_the_way(TfliteGraph(demo_artifact.path.read_bytes()))
    planted = int(share * len(names))
    found = bisected(demo_artifact.path, f"{plugin}:spoils={names[planted]}", 3)
    assert (found["operators"], found["most_comparisons"]) == (len(names), 10)
    assert found["first_wrong"]["number"] == planted + 1
