"""What several tests share: a small trained network, pictures it can tell apart, and the installed commands."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples in every run: a change is judged by what it changed. More of them: --hypothesis-profile=explore
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Give all tests of one run, in all its processes, a cache of their own; the user's is neither read nor written."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.mkdtemp(prefix="irv2-edge-tests-")
        os.environ["IRV2_CACHE_DIR"] = folder
        config.add_cleanup(lambda: [shutil.rmtree(each, ignore_errors=True) for each in (folder, f"{folder}-demo")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


LONGEST = (
    "test_demo.py",
    "test_loader_tf_keras.py",
    "test_hostile.py",
    "test_installation.py",
    "test_release.py",
    "test_examples.py",
)
"""The last three are tested with what the demo makes."""

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 70), "red": (200, 50, 40)}
SIZE = 75


@dataclass(frozen=True)
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str


def run_command(*arguments: object, timeout: float = 600, cwd: Path | None = None) -> Finished:
    """Run an installed console script, as a user does."""
    script = Path(sys.executable).with_name(str(arguments[0]))
    done = subprocess.run(
        [script, *map(str, arguments[1:])],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160"},
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    folder, checkout = tmp_path_factory.mktemp("dist"), Path(__file__).parents[1]
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, checkout], check=True)
    return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class DemoArtifact:
    """The int8 artifact of the full demo network, and the finished command that made it."""

    path: Path
    finished: Finished


@pytest.fixture(scope="session")
def demo_artifact() -> DemoArtifact:
    """The first command of the README, run once for all processes; its exit code is for the demo's tests to judge."""
    folder = Path(os.environ["IRV2_CACHE_DIR"]).with_name(f"{Path(os.environ['IRV2_CACHE_DIR']).name}-demo")
    folder.mkdir(exist_ok=True)
    made = folder / "finished.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            finished = run_command("irv2-convert", "--quantize", "int8", "--output-dir", folder / "build", timeout=1800)
            made.write_text(json.dumps(asdict(finished)))
    finished = Finished(**json.loads(made.read_text()))
    written = sorted((folder / "build").glob("*.tflite"))
    assert len(written) == 1, finished.err
    return DemoArtifact(written[0], finished)


def save_colour_pictures(folder: Path, count: int, seed: int) -> Path:
    """`count` noisy pictures of each colour, in a folder a colour."""
    random = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noisy = np.array(colour) + random.normal(0, 25, (SIZE, SIZE, 3)) + random.normal(0, 4, 3)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / name / f"{i:03}.png")
    return folder


@pytest.fixture(scope="session")
def calibration_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures of each colour."""
    return save_colour_pictures(tmp_path_factory.mktemp("images") / "calibration", 20, seed=1)


@pytest.fixture(scope="session")
def validation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 other pictures of each colour."""
    return save_colour_pictures(tmp_path_factory.mktemp("images") / "validation", 80, seed=2)


@pytest.fixture(scope="session")
def colour_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label file in the order of the small network's classes."""
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("".join(f"{name}\n" for name in COLOURS))
    return path


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, calibration_folder: Path) -> Path:
    """A `.keras` file: the architecture with one block of each kind, an eighth as wide, that tells colours apart.

    Its head is fitted in closed form on the features of the calibration pictures.
    """
    import keras

    from convert.keras_models.inception_resnet_v2 import inception_resnet_v2

    keras.utils.set_random_seed(7)
    model = inception_resnet_v2((SIZE, SIZE, 3), len(COLOURS), repeats=(1, 1, 1), width=0.125)
    names = list(COLOURS)
    paths = sorted(calibration_folder.glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(path), np.float32) / 127.5 - 1 for path in paths])
    features = np.asarray(keras.Model(model.input, model.get_layer("average_pool").output).predict_on_batch(images))
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    wanted = 8 * np.eye(len(names))[[names.index(path.parent.name) for path in paths]]
    normal = (features - centre) / spread
    weights = np.linalg.solve(normal.T @ normal + 5 * np.eye(normal.shape[1]), normal.T @ wanted) / spread[:, None]
    model.get_layer("dense").set_weights([weights, wanted.mean(axis=0) - centre @ weights])
    path = tmp_path_factory.mktemp("model") / "colours.keras"
    model.save(path)
    return path
