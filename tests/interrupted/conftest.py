"""A network so small that most of a conversion is start and end, with an uninterrupted conversion of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import COLOURS, save_colour_pictures
from tests.interrupted.harness import Command, Run, finish

SIDE = 24


@pytest.fixture(scope="session")
def tiny_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.keras, labels.txt, calibration/ and validation/."""
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("sources")
    save_colour_pictures(folder / "calibration", 4, seed=1)
    save_colour_pictures(folder / "validation", 8, seed=2)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in COLOURS))
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(len(COLOURS), activation="softmax")(features))
    paths = sorted((folder / "calibration").glob("*/*.png"))
    tensors = np.stack([np.asarray(Image.open(path).resize((SIDE, SIDE)), np.float32) / 127.5 - 1 for path in paths])
    seen = np.asarray(keras.Model(image, features).predict_on_batch(tensors))
    wanted = 8 * np.eye(len(COLOURS))[[list(COLOURS).index(path.parent.name) for path in paths]]
    centre, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    normal = (seen - centre) / spread
    weights = np.linalg.solve(normal.T @ normal + 0.1 * np.eye(6), normal.T @ wanted) / spread[:, None]
    model.layers[-1].set_weights([weights, wanted.mean(axis=0) - centre @ weights])
    model.save(folder / "tiny.keras")
    return folder


def given(folder: Path) -> list[object]:
    """What `irv2-convert` and `irv2-convert verify` are both given."""
    return [
        "--model", folder / "tiny.keras", "--preprocessing", "tf", "--labels", folder / "labels.txt",
        "--calibration", folder / "calibration", "--validation", folder / "validation",
    ]  # fmt: skip


LENIENT = ("--min-agreement", 50, "--max-drop", 50, "--max-top5-drop", 100)
"""24 images prove little."""


@pytest.fixture(scope="session")
def conversion(tiny_sources: Path) -> Command:
    """The command that converts the tiny network; it lacks its `--output-dir`."""
    return Command("irv2-convert", (*given(tiny_sources), *LENIENT))


@pytest.fixture(scope="session")
def converted(conversion: Command, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """It, uninterrupted, from another folder than most; and how long it took."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    run = finish(conversion.plus("--output-dir", folder), folder)
    assert run.code == 0, run.err
    return run
