"""The runtime on a 64-bit Arm processor, as on a Raspberry Pi: Debian's Python and the aarch64 wheels, emulated.

What is seen here is what is computed, not how fast: an emulated processor says nothing about time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import logits_tensor
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import load_pixels
from tests.devices.arm import Machine, cut, flatbuffer, integer_part

pytestmark = [pytest.mark.slow, pytest.mark.arm]


@pytest.fixture(scope="session")
def here() -> Machine:
    """This machine, with the installed packages and the checkout."""
    return Machine([sys.executable])


@pytest.fixture(scope="session")
def tensors(int8_artifact: Path, pictures: list[Path]) -> npt.NDArray[np.uint8]:
    """(images, 1, height, width, 3): the pictures as the artifact takes them, which is as they are."""
    card = open_artifact(int8_artifact).card
    assert (card.input.dtype, card.input.encoding) == ("uint8", "pixels")
    return np.stack([load_pixels(picture, card.preprocessing)[np.newaxis] for picture in pictures])


def test_it_is_another_architecture(arm: Machine, here: Machine) -> None:
    question = ["-c", "import platform; print(platform.machine())"]
    assert arm.run(*question) == "aarch64\n" != here.run(*question)


def test_predict_names_the_same_five_classes(
    arm: Machine, here: Machine, int8_artifact: Path, pictures: list[Path]
) -> None:
    command = ["-m", "edge_runtime", int8_artifact, *pictures, "--json", "--threads", 2]
    there, ours = ([json.loads(line) for line in machine.run(*command).splitlines()] for machine in (arm, here))
    assert len(there) == len(pictures)
    for answer, expected in zip(there, ours, strict=True):
        assert [p["label"] for p in answer["predictions"]] == [p["label"] for p in expected["predictions"]]
        assert answer["receipt"]["version"] == expected["receipt"]["version"]


def test_all_that_is_integer_is_bit_identical(
    arm: Machine, here: Machine, int8_artifact: Path, tensors: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    trunk = integer_part(int8_artifact)
    there, ours = arm.infer(trunk, tensors, tmp_path / "arm"), here.infer(trunk, tensors, tmp_path / "here")
    assert (there.dtype, len(there)) == (np.int8, len(tensors))
    assert len(np.unique(there)) > 50, "it must be able to differ"
    np.testing.assert_array_equal(there, ours)


def test_the_float_head_agrees_to_rounding(
    arm: Machine, here: Machine, int8_artifact: Path, tensors: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """Float sums of 2,144 products are taken in another order where vectors have another length.

    Measured on five pictures: 1.3e-6 in a probability; a logit of 20 alone has steps of 2e-6.
    """
    model = flatbuffer(int8_artifact)
    head = cut(model, logits_tensor(TfliteGraph(model)))
    there, ours = arm.infer(head, tensors, tmp_path / "arm"), here.infer(head, tensors, tmp_path / "here")
    print("logits differ by", np.abs(there - ours).max(), "of", np.abs(ours).max())
    np.testing.assert_allclose(there, ours, rtol=0, atol=1e-4)
    there, ours = arm.infer(model, tensors, tmp_path / "arm-p"), here.infer(model, tensors, tmp_path / "here-p")
    print("probabilities differ by", np.abs(there - ours).max())
    np.testing.assert_allclose(there, ours, rtol=0, atol=5e-6)
    with Classifier.open(int8_artifact) as classifier:
        np.testing.assert_array_equal(ours[0], classifier.run(tensors[0, 0]))
