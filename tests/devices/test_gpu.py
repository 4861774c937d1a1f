"""The way to a GPU without one: LiteRT's CompiledModel on SwiftShader, a Vulkan driver that computes on the CPU.

It is the one Chromium brings along. Everything above the driver is what runs on a device: LiteRT's WebGPU
accelerator, its shaders, the Vulkan loader.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import Pixels, load_pixels
from edge_runtime.tensors import encode
from tests.devices.conftest import logits
from tests.devices.debian import unpack_alone
from tests.edge_runtime.commands import environment

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

COMPUTE = """if True:
    import json, sys
    import numpy
    from edge_runtime import EngineError
    from edge_runtime.compiled import CompiledEngine
    from edge_runtime.engines import choose_engine
    model, tensors, answers = sys.argv[1:]
    try:
        engine = CompiledEngine(model, choose_engine("litert"), "gpu")
    except EngineError as error:
        print(json.dumps({"error": str(error)}))
    else:
        numpy.save(answers, numpy.concatenate([engine.run(tensor) for tensor in numpy.load(tensors)]))
        print(json.dumps({"device": engine.device}))
"""


@pytest.fixture(scope="session")
def driver(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment variables with which the Vulkan loader finds SwiftShader, and LiteRT the loader."""
    assert request.config.cache is not None
    root = unpack_alone(["chromium-common"], request.config.cache.mkdir("gpu") / "chromium")
    folder = root / "usr" / "lib" / "chromium"
    return {"VK_DRIVER_FILES": str(folder / "vk_swiftshader_icd.json"), "LD_LIBRARY_PATH": str(folder)}


def compute(
    artifact: Path, pixels: list[Pixels], driver: dict[str, str], folder: Path
) -> tuple[dict[str, str], npt.NDArray[np.float32]]:
    """What the compiled model says about itself, and its probabilities (images, classes); none after an error.

    In a process of its own, because the loader reads its environment once; it must print nothing else.
    """
    card = open_artifact(artifact).card
    np.save(folder / "tensors.npy", encode(np.stack(pixels), card.preprocessing, card.input)[:, np.newaxis])
    answers = folder / "answers.npy"
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE, artifact, folder / "tensors.npy", answers],
        check=False,
        capture_output=True,
        text=True,
        env=environment() | driver,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, str] = json.loads(done.stdout)
    return report, np.load(answers) if answers.exists() else np.zeros((0, 0), np.float32)


def on_cpu(artifact: Path, pixels: list[Pixels]) -> npt.NDArray[np.float32]:
    """The probabilities of the interpreter."""
    with Classifier.open(artifact) as classifier:
        return np.stack([classifier.run(p) for p in pixels])


def prepared(artifact: Path, pictures: list[Path]) -> list[Pixels]:
    """The pictures in the size the artifact takes."""
    spec = open_artifact(artifact).card.preprocessing
    return [load_pixels(picture, spec) for picture in pictures]


def signal_to_noise(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> float:
    """Of the logits, in dB."""
    signal, noise = logits(reference), logits(candidate) - logits(reference)
    return float(10 * np.log10((signal**2).sum() / (noise**2).sum()))


def test_the_float_network_answers_as_on_the_cpu(
    driver: dict[str, str], float_artifact: Path, pictures: list[Path], tmp_path: Path
) -> None:
    pixels = prepared(float_artifact, pictures)
    report, gpu = compute(float_artifact, pixels, driver, tmp_path)
    cpu = on_cpu(float_artifact, pixels)
    assert report == {"device": "SwiftShader Device (Subzero), CPU / Software"}
    print("float: probabilities differ by", np.abs(gpu - cpu).max(), "logits", signal_to_noise(cpu, gpu), "dB")
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=1e-3)
    assert signal_to_noise(cpu, gpu) > 80


def test_the_int8_artifact_runs_there_too_and_drifts_no_further_than_int8_does(
    driver: dict[str, str], int8_artifact: Path, float_artifact: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """The accelerator computes integer layers in float between steps of the same scales: close, not bit-identical.

    Measured on five pictures: 26 dB and 0.08 in a probability to the CPU's int8 kernels, where these are 23 dB from the
    float network, and so is the GPU.
    """
    pixels = prepared(int8_artifact, pictures)
    _, gpu = compute(int8_artifact, pixels, driver, tmp_path)
    cpu, reference = on_cpu(int8_artifact, pixels), on_cpu(float_artifact, prepared(float_artifact, pictures))
    drift = {"GPU to CPU": signal_to_noise(cpu, gpu), "GPU to float": signal_to_noise(reference, gpu)}
    print("int8: probabilities differ by", np.abs(gpu - cpu).max(), drift, signal_to_noise(reference, cpu))
    np.testing.assert_array_equal(gpu.argmax(axis=1), cpu.argmax(axis=1))
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=0.2)
    assert drift["GPU to CPU"] > 20
    assert drift["GPU to float"] > signal_to_noise(reference, cpu) - 3


def test_no_driver_is_one_error_with_its_reason(
    driver: dict[str, str], float_artifact: Path, pictures: list[Path], tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "no_driver.json")
    pixels = prepared(float_artifact, pictures[:1])
    report, _ = compute(float_artifact, pixels, driver | {"VK_DRIVER_FILES": nowhere}, tmp_path)
    assert "cannot run the model on the gpu: " in report["error"]
    assert "No adapters found" in report["error"]
    assert f"Failed to open JSON file {nowhere}" in report["error"]
    assert "\n" not in report["error"]


def test_no_loader_is_named(driver: dict[str, str], float_artifact: Path, pictures: list[Path], tmp_path: Path) -> None:
    """Where the machine has a loader of its own, LiteRT finds it, and SwiftShader through it."""
    loader = {"VK_DRIVER_FILES": os.devnull, "LD_LIBRARY_PATH": ""}
    report, _ = compute(float_artifact, prepared(float_artifact, pictures[:1]), driver | loader, tmp_path)
    assert "No adapters found" in report["error"]
    assert report["error"].endswith("it needs a Vulkan driver and its loader, libvulkan.so.1")


def predict(artifact: Path, picture: Path, driver: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """`irv2-predict --delegate gpu --json`."""
    return subprocess.run(
        [sys.executable, "-m", "edge_runtime", artifact, picture, "--delegate", "gpu", "--json", *options],
        check=False,
        capture_output=True,
        text=True,
        env=environment() | driver,
        timeout=600,
    )


def test_the_receipt_names_the_gpu_that_proved_itself(
    driver: dict[str, str], float_artifact: Path, pictures: list[Path]
) -> None:
    done = predict(float_artifact, pictures[0], driver, "--strict")
    assert (done.returncode, done.stderr) == (0, "")
    receipt = json.loads(done.stdout)["receipt"]
    assert (receipt["active"], receipt["fallback"]) == ("gpu", None)
    assert receipt["device"] == "SwiftShader Device (Subzero), CPU / Software"
    assert receipt["probe_difference"] < 1e-3


def test_the_driver_is_loaded_here_after_a_child_process_and_the_second_start_does_without(
    driver: dict[str, str], int8_artifact: Path, pictures: list[Path], tmp_path: Path
) -> None:
    receipts = []
    for _ in range(2):
        done = predict(int8_artifact, pictures[0], driver | {"XDG_CACHE_HOME": str(tmp_path)}, "--strict")
        assert (done.returncode, done.stderr) == (0, "")
        receipts.append(json.loads(done.stdout)["receipt"])
    print("trial:", [receipt["trial_ms"] for receipt in receipts], "ms")
    assert [receipt["trial"] for receipt in receipts] == ["passed", "remembered"]
    assert receipts[1]["trial_ms"] < 100 < receipts[0]["trial_ms"]
    (proof,) = json.loads((tmp_path / "irv2-edge" / "proven.json").read_text()).values()
    assert any("libvk_swiftshader" in library for library in proof["libraries"])


def test_bisect_compares_every_tensor_with_the_cpus(driver: dict[str, str], int8_artifact: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("irv2-inspect"), int8_artifact, "--bisect", "--delegate", "gpu", "--json"],
        check=False,
        capture_output=True,
        text=True,
        env=environment() | driver,
        timeout=600,
    )
    found = json.loads(done.stdout)["bisect"]
    print("bisect:", found["comparisons"])
    assert (done.returncode, done.stderr) == (0, "")
    assert (found["verdict"], found["first_wrong"], len(found["comparisons"])) == ("right", None, 1)
    assert 10 < found["comparisons"][0]["sqnr_db"] < 60


def test_without_a_driver_the_receipt_says_why_the_cpu_answers(
    driver: dict[str, str], float_artifact: Path, pictures: list[Path], tmp_path: Path
) -> None:
    nowhere = driver | {"VK_DRIVER_FILES": str(tmp_path / "no_driver.json")}
    done = predict(float_artifact, pictures[0], nowhere)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    answer = json.loads(done.stdout)
    assert (answer["receipt"]["requested"], answer["receipt"]["active"]) == ("gpu", "cpu")
    assert "Failed to open JSON file" in answer["receipt"]["fallback"]
    refused = predict(float_artifact, pictures[0], nowhere, "--strict")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Failed to open JSON file" in refused.stderr
