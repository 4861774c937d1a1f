"""Delegates that begin to go wrong after a hundred images: they are asked again, and the CPU takes over."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Classifier, DelegateError
from edge_runtime.preprocess import Pixels
from edge_runtime.tensors import Probabilities
from edge_runtime.watched import CHECK_EVERY
from tests.edge_runtime.cameras import colour_of, colours_without_end, serving, watching
from tests.edge_runtime.commands import predict
from tests.edge_runtime.compiled_models import compiled_artifact
from tests.edge_runtime.tiny_model import expected_probabilities

RIGHT_FIRST = 100
"""How many answers plugin.c gives before "lies-later" and "nan-later" go wrong."""

LATER = {
    "lies-later": r"its probabilities differ from the CPU's by 0\.\d+ on the probe, more than 0\.0\d+",
    "nan-later": r"it answers with NaN or infinity",
}
every_failure = pytest.mark.parametrize("behaviour", LATER)


def is_right(answer: object, pixels: Pixels) -> bool:
    return bool(np.allclose(answer, expected_probabilities(pixels), atol=1e-6))


def run_often(classifier: Classifier, pixels: Pixels) -> list[Probabilities]:
    return [classifier.run(pixels) for _ in range(300)]


def test_single_answers_are_right_again_after_64_at_most(artifact_path: Path, plugin: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path, delegate=f"{plugin}:behaviour=lies-later") as classifier:
        with pytest.warns(RuntimeWarning, match="any more: its probabilities differ .*, up to 64, may be wrong$"):
            answers = run_often(classifier, noise)
        receipt = classifier.receipt
    wrong = [number for number, answer in enumerate(answers) if not is_right(answer, noise)]
    assert RIGHT_FIRST - 4 < wrong[0] < RIGHT_FIRST
    assert len(wrong) <= CHECK_EVERY
    assert wrong == list(range(wrong[0], wrong[-1] + 1))
    assert (receipt.active, receipt.device, receipt.library, receipt.delegated) == ("cpu", "cpu", None, 0)
    assert re.search(LATER["lies-later"], receipt.fallback or "")


def test_not_one_answer_is_nan(artifact_path: Path, plugin: Path, noise: Pixels) -> None:
    with (
        Classifier.open(artifact_path, delegate=f"{plugin}:behaviour=nan-later") as classifier,
        pytest.warns(RuntimeWarning, match="answers with NaN"),
    ):
        answers = run_often(classifier, noise)
    assert all(is_right(answer, noise) for answer in answers)


@every_failure
@pytest.mark.parametrize("workers", [1, 3])
def test_every_answer_of_a_list_is_right(
    artifact_path: Path, plugin: Path, noise: Pixels, behaviour: str, workers: int
) -> None:
    request = f"{plugin}:behaviour={behaviour}"
    with Classifier.open(artifact_path, delegate=request, workers=workers) as classifier:
        with pytest.warns(RuntimeWarning, match="any more"):
            rows = classifier.probabilities([noise] * 400)
        assert classifier.receipt.active == "cpu"
    assert rows == pytest.approx(np.tile(expected_probabilities(noise), (400, 1)), abs=1e-6)


def test_a_list_that_ends_before_the_next_check_is_checked(artifact_path: Path, plugin: Path, noise: Pixels) -> None:
    count = RIGHT_FIRST + 5
    assert count % CHECK_EVERY
    with (
        Classifier.open(artifact_path, delegate=f"{plugin}:behaviour=lies-later") as classifier,
        pytest.warns(RuntimeWarning, match="any more"),
    ):
        rows = classifier.probabilities([noise] * count)
    assert all(is_right(row, noise) for row in rows)


def test_one_that_stays_right_stays(artifact_path: Path, plugin: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path, delegate=plugin, workers=2) as classifier:
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(lambda _: classifier.probabilities([noise] * 70), range(8)):
                pass
        assert classifier.receipt.active == str(plugin)
        assert classifier.unchecked < CHECK_EVERY


@every_failure
def test_strictly_it_is_an_error_from_then_on(artifact_path: Path, plugin: Path, noise: Pixels, behaviour: str) -> None:
    request = f"{plugin}:behaviour={behaviour}"
    with Classifier.open(artifact_path, delegate=request, strict=True) as classifier:
        with pytest.raises(DelegateError, match=LATER[behaviour]):
            run_often(classifier, noise)
        with pytest.raises(DelegateError, match=LATER[behaviour]):
            classifier.run(noise)


def test_one_that_dies_later_leaves_it_to_the_cpu(artifact_path: Path, plugin: Path, noise: Pixels) -> None:
    with (
        Classifier.open(artifact_path, delegate=f"{plugin}:behaviour=dies-later") as classifier,
        pytest.warns(RuntimeWarning, match="the accelerator was unplugged"),
    ):
        answers = [classifier.run(noise) for _ in range(5)]
    assert all(is_right(answer, noise) for answer in answers)


def test_what_only_a_delegate_can_compute_ends_then(tmp_path: Path, plugin: Path, noise: Pixels) -> None:
    path = compiled_artifact().write(tmp_path / "tiny.tflite")
    with (
        Classifier.open(path, delegate=f"{plugin}:behaviour=lies-later") as classifier,
        pytest.raises(DelegateError, match="cannot be used any more"),
    ):
        run_often(classifier, noise)


@every_failure
def test_the_command_prints_right_answers_only(
    artifact_path: Path, plugin: Path, pictures: Path, tmp_path: Path, behaviour: str
) -> None:
    shown = [pictures / f"{name}.png" for name in ("red", "green", "blue")] * 50
    options = ("--delegate", f"{plugin}:behaviour={behaviour}", "--json", "--record", tmp_path / "answers.json")
    done = predict(artifact_path, *shown, *options)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["predictions"][0]["label"] for answer in answers] == ["red", "green", "blue"] * 50
    assert [answer["image"] for answer in answers] == [str(path) for path in shown]
    assert answers[0]["receipt"]["active"] == str(plugin)
    assert answers[-1]["receipt"]["active"] == "cpu"
    assert re.search(LATER[behaviour], answers[-1]["receipt"]["fallback"])
    assert re.fullmatch(rf"irv2-predict: warning: .*any more: {LATER[behaviour]}; the CPU .*\n", done.stderr)
    assert done.returncode == 0
    recorded = json.loads((tmp_path / "answers.json").read_text())["answers"]
    assert [each["image"] for each in recorded] == [str(path) for path in shown]
    assert [int(np.argmax(each["probabilities"])) for each in recorded] == [0, 1, 2] * 50


@every_failure
def test_strictly_the_command_fails_in_one_line(
    artifact_path: Path, plugin: Path, pictures: Path, behaviour: str
) -> None:
    shown = [pictures / "red.png"] * 150
    done = predict(artifact_path, *shown, "--delegate", f"{plugin}:behaviour={behaviour}", "--strict")
    assert re.fullmatch(rf"irv2-predict: error: delegate .* any more: {LATER[behaviour]}\n", done.stderr)
    assert done.returncode == 1
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"red"}


def test_an_image_of_standard_input_is_answered_by_the_cpu_at_once(
    artifact_path: Path, plugin: Path, pictures: Path
) -> None:
    request = f"{plugin}:behaviour=lies-later"
    files = [pictures / "red.png"] * (RIGHT_FIRST + 2)
    done = predict(artifact_path, *files, "-", "--delegate", request, stdin=(pictures / "blue.png").read_bytes())
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == ["red"] * len(files) + ["blue"]
    assert done.returncode == 0


def test_a_camera_goes_on_with_the_cpu_and_it_is_said_once(artifact_path: Path, plugin: Path) -> None:
    request = f"{plugin}:behaviour=lies-later"
    with (
        serving(colours_without_end) as address,
        watching(artifact_path, "--camera", address, "--json", "--delegate", request) as running,
    ):
        rows = [running.row() for _ in range(2 * CHECK_EVERY + 20)]
        code, errors = running.stop()
    right = [row["predictions"][0]["label"] == colour_of(row["frame"]) for row in rows]
    assert all(right[: RIGHT_FIRST - 4])
    assert all(right[2 * CHECK_EVERY :])
    assert (rows[0]["receipt"]["active"], rows[-1]["receipt"]["active"]) == (str(plugin), "cpu")
    assert re.fullmatch(r"irv2-predict: warning: delegate .* any more: .*, up to 64, may be wrong\n", errors)
    assert code == 130
