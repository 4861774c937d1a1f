"""`irv2-convert` with some layers in float: by hand, and by the search of `--recover`."""

from __future__ import annotations

import json

import pytest

from edge_runtime.artifact import open_artifact
from tests.conftest import run_command
from tests.convert.cli.conversions import Conversion


@pytest.fixture(scope="module")
def mixed(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """The stem in float by hand, with everything about calibration left to the command."""
    folder = tmp_path_factory.mktemp("mixed")
    finished = run_command(
        "irv2-convert", "--quantize", "mixed", "--keep-float", "^stem", "--calibrator", "auto",
        "--calibration-size", "auto", *arguments, "--output-dir", folder,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    return Conversion(finished, folder)


def test_layers_kept_by_hand_are_float_and_all_others_int8(mixed: Conversion) -> None:
    graph = mixed.graph("mixed")
    outputs = {graph.tensor_name(op.outputs[0]): graph.dtype(op.inputs[1]) for op in graph.named("CONV_2D")}
    assert {dtype for name, dtype in outputs.items() if "/stem" in name} == {"float32"}
    assert {dtype for name, dtype in outputs.items() if "/stem" not in name} == {"int8"}
    assert all(name.startswith("stem") for name in mixed.report("mixed")["float_layers"])
    card = open_artifact(mixed.artifact("mixed")).card
    assert card.calibration is not None
    assert card.calibration["float_layers"] == mixed.report("mixed")["float_layers"]


def test_the_calibrator_was_chosen_on_images_it_was_not_fitted_to(mixed: Conversion) -> None:
    calibration = mixed.report("mixed")["calibration"]
    assert set(calibration["tried_sqnr_db"]) == {"minmax", "average", "percentile", "entropy", "mse"}
    assert calibration["calibrator"] in calibration["tried_sqnr_db"]
    assert calibration["held_out"] == 12
    assert calibration["images"] <= 48
    assert f"calibrator {calibration['calibrator']}, of minmax" in mixed.finished.err


@pytest.fixture(scope="module")
def recovered(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """A gate that nothing passes on so few images."""
    folder = tmp_path_factory.mktemp("recovered")
    finished = run_command("irv2-convert", "--recover", "--min-agreement", "99.9", *arguments, "--output-dir", folder)
    return Conversion(finished, folder)


def test_recovery_says_what_each_layer_in_float_costs_and_brings(recovered: Conversion) -> None:
    assert "looking for the layers that cost most" in recovered.finished.err
    written = next(recovered.folder.glob("colours.mixed*.report.json"))
    report = json.loads(written.read_text())
    steps = report["recovery"]
    assert steps[0]["layers"] == 0
    assert [step["layers"] for step in steps] == sorted({step["layers"] for step in steps})
    assert [step["sqnr_db"] for step in steps] == sorted(step["sqnr_db"] for step in steps)
    assert len(report["float_layers"]) >= steps[-1]["layers"] > 0
    assert "layers in float" in recovered.finished.out


def test_after_recovery_the_recovered_artifact_is_what_counts(recovered: Conversion) -> None:
    report = json.loads(next(recovered.folder.glob("colours.mixed*.report.json")).read_text())
    assert recovered.finished.code == {"pass": 0, "fail": 3, "inconclusive": 4}[report["gate"]["verdict"]]
    assert next(recovered.folder.glob("colours.int8*.tflite")).exists()
