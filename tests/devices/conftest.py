"""The demo network as artifacts, and pictures to show to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import run_command, save_colour_pictures
from tests.devices.arm import Machine, arm_machine
from tests.devices.debian import skip_without_apt, unpack_alone
from tests.devices.remote import COUNT
from tests.devices.sshd import Server, serving
from tests.edge_runtime.tiny_model import tiny_artifact

ROOT = Path(__file__).parents[2]
PICTURES = ("ankle-boot", "bag", "pullover", "sandal", "trouser")


@pytest.fixture(scope="session", autouse=True)
def _apt() -> None:
    skip_without_apt()


@pytest.fixture(scope="session")
def int8_artifact() -> Path:
    """The demo's int8 artifact, made if `make demo` has not."""
    return demo("int8")


@pytest.fixture(scope="session")
def float_artifact() -> Path:
    """The same network in float."""
    return demo("none")


def demo(scheme: str) -> Path:
    """The artifact in the folder `build`, where every command of the README leaves it."""
    path = ROOT / "build" / f"irv2-demo.{scheme}.tflite"
    if not path.exists():
        done = run_command("irv2-convert", "--quantize", scheme, "--no-validate", cwd=ROOT, timeout=1800)
        assert path.exists(), done.err
    return path


@pytest.fixture(scope="session")
def pictures() -> list[Path]:
    """A bundled picture of five classes."""
    return [min((ROOT / "calibration_data" / "validation" / name).glob("*.png")) for name in PICTURES]


@pytest.fixture(scope="session")
def base(request: pytest.FixtureRequest) -> Path:
    """A Python with the base install's dependencies and nothing else."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("device") / "base"
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        litert = f"ai-edge-litert=={metadata.version('ai-edge-litert')}"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "pillow", litert], check=True)
        (folder / "done").touch()
    return python


@pytest.fixture(scope="session")
def arm(request: pytest.FixtureRequest, wheel: Path) -> Machine:
    """The emulated Arm machine."""
    assert request.config.cache is not None
    return arm_machine(request.config.cache.mkdir("arm"), wheel)


@pytest.fixture
def serve(request: pytest.FixtureRequest, base: Path, tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Starts a server of a given name, with `base` as its Python."""
    assert request.config.cache is not None
    packages = ["openssh-server", "libwrap0", "libnss-wrapper"]
    root = unpack_alone(packages, request.config.cache.mkdir("device") / "debian")
    with ExitStack() as running:

        def start(name: str) -> Server:
            server = running.enter_context(serving(root, tmp_path / name))
            server.offer("python3", f'exec {base} "$@"')
            return server

        yield start


@pytest.fixture
def server(serve: Callable[[str], Server]) -> Server:
    return serve("server")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`COUNT` pictures in folders of three classes."""
    return save_colour_pictures(tmp_path_factory.mktemp("device") / "images", COUNT // 3, seed=3)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny artifact that tells them apart."""
    return tiny_artifact().write(tmp_path_factory.mktemp("device") / "float.tflite")


def logits(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What softmax was taken of, (images, classes), up to a constant for each image."""
    logarithm = np.log(np.maximum(probabilities.astype(np.float64), 1e-37))
    return np.asarray(logarithm - logarithm.mean(axis=1, keepdims=True))
