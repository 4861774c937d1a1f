"""The installation as its users meet it: the built wheel in clean virtual environments, away from the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from packaging.requirements import Requirement

from tests.conftest import DemoArtifact, Finished
from tests.edge_runtime.tiny_model import tiny_artifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
VALIDATION = ROOT / "calibration_data" / "validation"
MAX_WHEEL_BYTES = 5_000_000
MAX_RUNTIME_BYTES = 125_000
FREE_OF_PYTHONPATH = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

needs_tflite_runtime = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tflite-runtime has no wheels for Python 3.12 and later"
)


@pytest.fixture(scope="session")
def plain(wheel: Path, request: pytest.FixtureRequest) -> Path:
    """The `bin` folder of an environment in which `pip install irv2-edge` was run."""
    return environment_with(wheel, "", request)


@pytest.fixture(scope="session")
def with_tflite_runtime(wheel: Path, request: pytest.FixtureRequest) -> Path:
    """The `bin` folder after `pip install 'irv2-edge[tflite-runtime]'`."""
    return environment_with(wheel, "[tflite-runtime]", request)


@pytest.fixture(scope="session")
def with_drift(wheel: Path, request: pytest.FixtureRequest) -> Path:
    """The `bin` folder after `pip install 'irv2-edge[drift]'`."""
    return environment_with(wheel, "[drift]", request)


def environment_with(wheel: Path, extra: str, request: pytest.FixtureRequest) -> Path:
    """Made from wheels alone, as on a device without a compiler; kept in pytest's cache until the wheel changes."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir(f"installation{extra.translate(str.maketrans('[', '-', ']'))}")
    installed, digest = folder / "installed", hashlib.sha256(wheel.read_bytes()).hexdigest()
    if not installed.exists() or installed.read_text() != digest:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
        kept = Path(shutil.copy(wheel, folder))  # the commands say what to install it from
        subprocess.run([*pip, f"{kept}{extra}"], check=True, env=FREE_OF_PYTHONPATH)
        installed.write_text(digest)
    return folder / "bin"


def run(command: Path, *arguments: object, cwd: Path) -> Finished:
    """Run a command of such an environment in a folder that has nothing to do with the checkout."""
    done = subprocess.run(
        [command, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env=FREE_OF_PYTHONPATH,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def pictures(a_class: int) -> list[Path]:
    """The first bundled validation pictures of every class."""
    return [path for folder in sorted(VALIDATION.iterdir()) for path in sorted(folder.glob("*.png"))[:a_class]]


def predict(command: Sequence[str | Path], artifact: Path, images: list[Path], cwd: Path) -> list[dict[str, Any]]:
    """What `irv2-predict --json` says about each image."""
    done = run(Path(command[0]), *command[1:], artifact, *images, "--json", "--top-k", 10, cwd=cwd)
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def probabilities(answers: list[dict[str, Any]]) -> npt.NDArray[np.float64]:
    """(images, classes), in the order of the classes."""
    ranked = [sorted(answer["predictions"], key=lambda prediction: prediction["index"]) for answer in answers]
    return np.array([[prediction["probability"] for prediction in row] for row in ranked])


def folder_name(label: str) -> str:
    """T-shirt/top -> t-shirt-top, as the bundled folders are called."""
    return label.lower().replace("/", "-").replace(" ", "-")


@pytest.mark.parametrize("command", [["irv2-predict"], ["python", "-m", "edge_runtime"]], ids=" ".join)
def test_the_plain_wheel_names_what_is_in_the_pictures(
    plain: Path, demo_artifact: DemoArtifact, command: list[str], tmp_path: Path
) -> None:
    images = pictures(3)
    answers = predict([plain / command[0], *command[1:]], demo_artifact.path, images, tmp_path)
    named = [folder_name(answer["predictions"][0]["label"]) for answer in answers]
    right = [name == image.parent.name for name, image in zip(named, images, strict=True)]
    assert sum(right) >= 20, "of 30; chance would name 3"
    assert answers[0]["receipt"]["engine"] == "litert"


def test_the_table_names_the_class_of_an_easy_picture(plain: Path, demo_artifact: DemoArtifact, tmp_path: Path) -> None:
    picture = min((VALIDATION / "trouser").glob("*.png"))
    done = run(plain / "irv2-predict", demo_artifact.path, picture, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1].split()[0] == "Trouser"


def test_the_plain_wheel_brings_no_tensorflow(plain: Path, tmp_path: Path) -> None:
    done = run(plain / "python", "-c", "import tensorflow", cwd=tmp_path)
    assert done.code == 1
    assert "ModuleNotFoundError: No module named 'tensorflow'" in done.err


@pytest.mark.parametrize(
    ("command", "extra"), [("irv2-convert", "convert-cpu"), ("irv2-drift", "drift"), ("irv2-inspect", "drift")]
)
@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_a_host_command_without_its_extra_prints_the_install_command(
    plain: Path, wheel: Path, command: str, extra: str, arguments: list[str], tmp_path: Path
) -> None:
    """With the wheel from which the command itself was installed, since no index need have it."""
    done = run(plain / command, *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    kept = plain.parent / wheel.name
    assert done.err == f"{command}: error: click is not installed: pip install '{kept}[{extra}]'\n"
    assert kept.is_file()


def test_the_plain_wheel_times_a_model_here_and_asks_devices(plain: Path, tmp_path: Path) -> None:
    model = tiny_artifact().write(tmp_path / "tiny.tflite")
    assert " on cpu, " in run(plain / "irv2-benchmark", model, "--runs", 2, cwd=tmp_path).out
    done = run(plain / "irv2-benchmark", model, "--device", "ssh://nobody@127.0.0.1:1", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("irv2-benchmark: error: ssh://nobody@127.0.0.1:1: ")


def test_the_drift_extra_audits_an_artifact_without_tensorflow(
    with_drift: Path, demo_artifact: DemoArtifact, tmp_path: Path
) -> None:
    assert run(with_drift / "python", "-c", "import tensorflow", cwd=tmp_path).code == 1
    done = run(with_drift / "irv2-inspect", demo_artifact.path, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "CONV_2D" in done.out
    for command in (("verify", demo_artifact.path), ("--model", "demo")):
        refused = run(with_drift / "irv2-convert", *command, cwd=tmp_path)
        assert refused.code == 1
        assert " is not installed: pip install " in refused.err.splitlines()[-1], "one line, no traceback"
        assert "Traceback" not in refused.err
    stored, images = tmp_path / "ref.npz", ("--images", VALIDATION / "trouser")
    drift = with_drift / "irv2-drift"
    saved = run(drift, "--save-reference", stored, "--reference", demo_artifact.path, *images, cwd=tmp_path)
    assert saved.code == 0, saved.err
    for reference in (demo_artifact.path, stored):
        measured = run(
            *(drift, demo_artifact.path, "--reference", reference, *images, "--no-stop-early", "--html", "page.html"),
            cwd=tmp_path,
        )
        assert measured.code == 0, measured.err
        assert measured.out.startswith("pass on ")
        assert "</html>" in (tmp_path / "page.html").read_text()


def test_the_wheel_is_small(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        runtime = sum(entry.compress_size for entry in archive.infolist() if entry.filename.startswith("edge_runtime/"))
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    assert 10_000 < runtime < MAX_RUNTIME_BYTES


def test_the_installed_package_finds_every_bundled_picture(plain: Path, tmp_path: Path) -> None:
    code = """if True:
        import hashlib, json, calibration_data as data
        files = [path for folder in (data.CALIBRATION, data.VALIDATION) for path in folder.rglob("*.png")]
        root = data.MANIFEST.parent
        found = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        print(json.dumps({"folder": str(root), "found": found}))
    """
    done = run(plain / "python", "-c", code, cwd=tmp_path)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    manifest = json.loads((ROOT / "calibration_data" / "manifest.json").read_text())
    assert Path(answer["folder"]).is_relative_to(plain.parent)
    assert answer["found"] == {entry["path"]: entry["sha256"] for entry in manifest["files"]}


@needs_tflite_runtime
def test_both_engines_live_in_one_environment_and_agree(
    with_tflite_runtime: Path, demo_artifact: DemoArtifact, tmp_path: Path
) -> None:
    """Their int8 kernels round differently: XNNPACK once, in float; 2.14's own twice, in fixed point.

    242 layers make of it up to 0.13 in a probability, and 24 dB in the logits, over 100 pictures of the first demo
    weights; a class that led by more than 0.3 stayed the first.
    """
    images = pictures(2)
    answers = {
        engine: predict(
            [with_tflite_runtime / "irv2-predict", "--engine", engine], demo_artifact.path, images, tmp_path
        )
        for engine in ("litert", "tflite-runtime")
    }
    for engine, given in answers.items():
        assert {answer["receipt"]["engine"] for answer in given} == {engine}
    litert, tflite_runtime = map(probabilities, answers.values())
    clear = np.diff(np.sort(litert, axis=1)[:, -2:], axis=1)[:, 0] > 0.3
    assert clear.sum() >= 10
    np.testing.assert_array_equal(litert.argmax(axis=1)[clear], tflite_runtime.argmax(axis=1)[clear])
    np.testing.assert_allclose(tflite_runtime, litert, rtol=0, atol=0.25)
    assert signal_to_noise(logits(litert), logits(tflite_runtime)) > 18


def logits(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What softmax was taken of, up to a constant for each picture; zeros are float32's smallest."""
    logarithm = np.log(np.maximum(probability, 1e-30))
    return np.asarray(logarithm - logarithm.mean(axis=1, keepdims=True))


def signal_to_noise(reference: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64]) -> float:
    """In dB."""
    return float(10 * np.log10((reference**2).sum() / ((candidate - reference) ** 2).sum()))


@needs_tflite_runtime
def test_delegates_are_proven_on_both_interpreters(with_tflite_runtime: Path) -> None:
    """The runtime's own tests of engines and delegates, where both interpreters are installed."""
    python, checkout = with_tflite_runtime / "python", Path(__file__).parents[1]
    assert run(python, "-m", "pip", "install", "--quiet", "pytest", "hypothesis", cwd=checkout).code == 0
    tests = [f"tests/edge_runtime/test_{name}.py" for name in ("delegates", "engines")]
    done = run(python, "-m", "pytest", "-v", "-p", "no:cacheprovider", *tests, cwd=checkout)
    assert done.code == 0, done.out[-3000:]
    for engine in ("litert", "tflite-runtime"):
        assert re.search(rf"\[.*{engine}.*\] PASSED", done.out)


@needs_tflite_runtime
def test_the_tflite_runtime_extra_breaks_no_requirement(with_tflite_runtime: Path, tmp_path: Path) -> None:
    done = run(with_tflite_runtime / "python", "-m", "pip", "check", cwd=tmp_path)
    assert (done.code, done.out) == (0, "No broken requirements found.\n")


@pytest.mark.parametrize(("extra", "tensorflow"), [("convert", "tensorflow"), ("convert-cpu", "tensorflow-cpu")])
@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_the_extras_resolve_on_later_pythons(
    wheel: Path, python: str, extra: str, tensorflow: str, tmp_path: Path
) -> None:
    """[convert-cpu] needs all that [drift] and the plain package need. pip reads metadata, and downloads no wheel."""
    report = tmp_path / "report.json"
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report]
    line += ["--only-binary=:all:", "--python-version", python, "--target", tmp_path / "nowhere", f"{wheel}[{extra}]"]
    done = subprocess.run(line, check=False, capture_output=True, text=True, cwd=tmp_path, env=FREE_OF_PYTHONPATH)
    assert done.returncode == 0, done.stderr
    chosen = {
        entry["metadata"]["name"].lower().replace("_", "-") for entry in json.loads(report.read_text())["install"]
    }
    assert {"irv2-edge", "ai-edge-litert", "numpy", "pillow", "click", tensorflow} <= chosen
    assert len(chosen & {"tensorflow", "tensorflow-cpu"}) == 1, "one would overwrite the other"


def test_each_extra_adds_to_the_one_before_it() -> None:
    extras, here = project()["optional-dependencies"], {"python_version": "3.13"}
    runtime = required(project()["dependencies"], here)
    drift, convert = (required(extras[name], here) for name in ("drift", "convert"))
    assert "irv2-edge[drift]" in extras["conversion"], "and so brings its requirements"
    assert "irv2-edge[conversion]" in set(extras["convert"]) & set(extras["convert-cpu"])
    assert any(line.startswith("tensorflow>") for line in convert)
    for machine, one in (("x86_64", "tensorflow-cpu>=2.19"), ("aarch64", "tensorflow>=2.19")):
        of_cpu = required(extras["convert-cpu"], {**here, "platform_machine": machine})
        assert {line for line in of_cpu if line.startswith("tensorflow")} == {one}
    assert not any(line.startswith(("tensorflow", "click")) for line in runtime)
    assert any(line.startswith("click") for line in drift)
    assert not any(line.startswith("tensorflow") for line in drift)


RASPBERRY_PI_32 = {"platform_machine": "armv7l", "python_version": "3.11"}
RASPBERRY_PI_64 = {"platform_machine": "aarch64", "python_version": "3.11"}


@pytest.mark.parametrize(
    ("device", "engine", "numpy"),
    [
        (RASPBERRY_PI_32, {"tflite-runtime==2.14.*"}, "numpy<2,>=1.24"),
        (RASPBERRY_PI_64, {"ai-edge-litert>=2.0"}, "numpy>=1.26"),
        ({"platform_machine": "x86_64", "python_version": "3.13"}, {"ai-edge-litert>=2.0"}, "numpy>=1.26"),
    ],
)
def test_each_device_gets_the_interpreter_that_has_wheels_for_it(
    device: dict[str, str], engine: set[str], numpy: str
) -> None:
    wanted = required(project()["dependencies"], device)
    assert {line for line in wanted if "lite" in line} == engine
    assert {line for line in wanted if line.startswith("numpy")} == {numpy}


def test_later_pythons_are_not_held_back_by_an_interpreter_that_they_lack() -> None:
    extra = project()["optional-dependencies"]["tflite-runtime"]
    assert required(extra, {"python_version": "3.11"}) == {"tflite-runtime==2.14.*", "numpy<2"}
    assert required(extra, {"python_version": "3.13"}) == set()


def project() -> dict[str, Any]:
    """The project table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def required(lines: list[str], device: dict[str, str]) -> set[str]:
    """The requirements whose markers hold on a device, without the markers."""
    parsed = [Requirement(line) for line in lines]
    return {f"{r.name}{r.specifier}" for r in parsed if r.marker is None or r.marker.evaluate(device)}
