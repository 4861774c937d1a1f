"""Our runtime on what it may meet: tflite-runtime 2.14, and each LiteRT from 1.0 on, one a minor release."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import Pixels
from tests.clients.answers import OTHER_ROUNDING, SAME_ARITHMETIC, Predictions, is_close, read_answers
from tests.clients.environments import ROOT, Client
from tests.clients.findings import FOUND, Finding, compared

pytestmark = [pytest.mark.slow, pytest.mark.clients]


OLD = Client("tflite-runtime", "2.14.0", ("numpy<2", "pillow"), (3, 11))
LITERT = (
    Client("ai-edge-litert", "1.0.1", ("numpy<2", "pillow"), (3, 11)),
    *(Client("ai-edge-litert", release, ("pillow",), (3, 12)) for release in ("1.1.2", "1.2.0", "1.3.0", "1.4.0")),
    Client("ai-edge-litert", "2.0.3", ("pillow",), (3, 12)),
    *(Client("ai-edge-litert", release, ("pillow",), (3, 13)) for release in ("2.1.6", "2.2.0", "2.3.0")),
)
SOME = [i for i in range(50) if i % 5 in (1, 3)]
"""Two pictures of each class: tflite-runtime takes its time."""
CHECKOUT = os.fspath(ROOT)
WRONG: dict[str, Callable[[Pixels], Pixels]] = {
    "red and blue swapped": lambda pixels: pixels[..., ::-1],
    "scaled to 0..1, not to -1..1": lambda pixels: np.uint8(127.5 + pixels / 2),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "rows for columns": lambda pixels: pixels.swapaxes(0, 1),
}
"""Ways to prepare a picture wrongly."""


def check(client: Client, artifact: Path, bound: float, pictures: list[Path], ours: Predictions) -> None:
    """`python -m edge_runtime` in the client's environment: that very release answers SOME of the pictures as we do."""
    expected = Predictions(ours.labels, ours.probabilities[SOME])
    shown = [pictures[i] for i in SOME]
    done = client.run(
        "-m", "edge_runtime", artifact, *shown, "--json", "--top-k", len(expected.labels), PYTHONPATH=CHECKOUT
    )
    assert (done.code, done.err) == (0, "")
    receipt = json.loads(done.out.splitlines()[0])["receipt"]
    assert client.name == f"{'ai-edge-' * (receipt['engine'] == 'litert')}{receipt['engine']} {receipt['version']}"
    answers = read_answers(done.out, expected.labels)
    FOUND.append(compared(client.name, artifact, "answers, with our runtime", answers, expected))
    assert is_close(answers, expected, bound), FOUND[-1]


@pytest.mark.parametrize("client", [OLD, *LITERT], ids=lambda client: client.name)
def test_the_float_network_answers_as_here(
    client: Client, float_artifact: Path, pictures: list[Path], our_answers: Callable[[Path], Predictions]
) -> None:
    check(client, float_artifact, SAME_ARITHMETIC, pictures, our_answers(float_artifact))


@pytest.mark.parametrize("client", LITERT, ids=lambda client: client.name)
def test_every_litert_answers_int8_as_here(
    client: Client, uint8_artifact: Path, pictures: list[Path], our_answers: Callable[[Path], Predictions]
) -> None:
    check(client, uint8_artifact, SAME_ARITHMETIC, pictures, our_answers(uint8_artifact))


def test_tflite_runtime_rounds_int8_otherwise_and_names_the_same_class_where_one_leads(
    uint8_artifact: Path, pictures: list[Path], our_answers: Callable[[Path], Predictions]
) -> None:
    check(OLD, uint8_artifact, OTHER_ROUNDING, pictures, our_answers(uint8_artifact))


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("bound", [SAME_ARITHMETIC, OTHER_ROUNDING], ids=["same arithmetic", "other rounding"])
def test_the_bounds_are_narrower_than_what_wrong_preparation_does(
    wrong: str, bound: float, uint8_artifact: Path, pictures: list[Path], our_answers: Callable[[Path], Predictions]
) -> None:
    labels = open_artifact(uint8_artifact).labels
    with Classifier.open(uint8_artifact) as classifier:
        rows = [classifier.run(np.ascontiguousarray(WRONG[wrong](np.asarray(Image.open(path))))) for path in pictures]
    assert not is_close(Predictions(labels, np.float64(rows)), our_answers(uint8_artifact), bound)


def test_litert_1_0_says_which_numpy_it_wants(uint8_artifact: Path, pictures: list[Path]) -> None:
    """pip puts NumPy 2 beside it, which it was not built for."""
    unhelped = Client("ai-edge-litert", "1.0.0", ("numpy>=2", "pillow"), (3, 11))
    done = unhelped.run("-m", "edge_runtime", uint8_artifact, pictures[0], PYTHONPATH=CHECKOUT)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("irv2-predict: error: litert 1.0.0 does not work with NumPy 2.")
    assert done.err.endswith("pip install 'numpy<2', or pass another engine\n")
    FOUND.append(Finding(f"{unhelped.name}, NumPy 2", uint8_artifact.name, "refused in one line, which names numpy<2"))
