"""The probe is the same picture everywhere, for ever."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.engines import Engine, choose_engine
from edge_runtime.probe import IMAGE, LOGIT_TOLERANCES, TOLERANCES, Probe, probe_pixels
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.tiny_model import SIZE, SPEC, expected_probabilities, tiny_artifact

WORD = 2**64 - 1


def philox4x64(counter: int) -> list[int]:
    """Four words of Philox4x64-10 with key 0 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")."""
    words, keys = [counter, 0, 0, 0], [0, 0]
    for _ in range(10):
        first, second = words[0] * 0xD2E7470EE14C6C93, words[2] * 0xCA5A826395121157
        words = [second >> 64 ^ words[1] ^ keys[0], second & WORD, first >> 64 ^ words[3] ^ keys[1], first & WORD]
        keys = [(keys[0] + 0x9E3779B97F4A7C15) & WORD, (keys[1] + 0xBB67AE8584CAA73B) & WORD]
    return words


def test_the_probe_is_the_bytes_of_philox() -> None:
    stream = b"".join(word.to_bytes(8, "little") for block in range(1, 80) for word in philox4x64(block))
    pixels = probe_pixels(19, 31)
    assert (pixels.shape, pixels.dtype.name) == ((19, 31, 3), "uint8")
    assert pixels.tobytes() == stream[: 19 * 31 * 3]


def test_the_first_pixels_are_golden() -> None:
    assert probe_pixels(1, 3).ravel().tolist() == [155, 216, 228, 8, 100, 186, 244, 2, 178]


@pytest.mark.parametrize(("image", "part"), [(IMAGE + ", contrast 1/4", 4), (IMAGE + ", contrast 1/16", 16)])
def test_less_contrast_is_a_part_of_the_noise_around_mid_gray(image: str, part: int) -> None:
    full = probe_pixels(19, 31).astype(int) - 128
    assert np.array_equal(probe_pixels(19, 31, 3, image).astype(int), 128 + full // part)


@pytest.mark.parametrize(
    ("std", "image"),
    [
        (1.0, IMAGE),
        (0.05, IMAGE + ", contrast 1/4"),
        (0.01, IMAGE + ", contrast 1/16"),
        (0.0001, IMAGE),  # certain of all of them
    ],
)
def test_the_image_is_the_first_of_which_the_network_is_not_certain(tmp_path: Path, std: float, image: str) -> None:
    spec = replace(SPEC, std=(std, std, std))
    path = tiny_artifact(spec=spec).write(tmp_path / "tiny.tflite")
    probe = Probe.of(Engine(path, choose_engine(), 1, None, None), spec, TensorSpec("image", "float32"))
    assert probe.image == image
    assert probe.probabilities == pytest.approx(
        expected_probabilities(probe_pixels(SIZE, SIZE, 3, image), spec).tolist(), rel=1e-3, abs=1e-30
    )
    assert probe.is_certain(0.0) is (std == 0.0001)


@pytest.mark.parametrize("image", [IMAGE, f"{IMAGE}, contrast 1/4"])
def test_a_probe_survives_json(image: str) -> None:
    probe = Probe(tuple(np.array([0.1, 0.7, 0.2], np.float32).tolist()), image)
    assert Probe.from_json(json.loads(json.dumps(vars(probe)))) == probe
    assert probe.difference(np.array([0.1, 0.7, 0.2], np.float32)) == 0


@pytest.mark.parametrize(
    "value",
    [
        {"image": "another", "probabilities": [1.0]},
        {"image": IMAGE, "probabilities": [float("nan")]},
        {"image": IMAGE, "probabilities": ["high"]},
        {"image": IMAGE, "probabilities": 3},
        {"image": IMAGE},
        None,
    ],
)
def test_what_is_no_probe_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Probe.from_json(value)


def test_the_difference_is_the_largest_of_any_class() -> None:
    probe = Probe((0.5, 0.3, 0.2))
    assert probe.difference(np.array([0.5, 0.25, 0.25], np.float32)) == pytest.approx(0.05)
    assert np.isnan(probe.difference(np.array([0.5, np.nan, 0.2], np.float32)))


def test_the_tolerance_follows_the_largest_expected_probability() -> None:
    assert Probe((0.5, 0.5)).tolerance("float32") == 0.01
    assert Probe((0.001,) * 1000).tolerance("uint8") == 0.0001


def test_there_is_a_tolerance_for_every_dtype_that_a_network_can_take() -> None:
    assert set(TOLERANCES) == set(LOGIT_TOLERANCES) == {"float32", "uint8", "int8", "int16"}


def test_the_error_of_the_logits_by_hand() -> None:
    """Logits (6, 0, -6) and (6, -3, -3) after centring: 3 and 3 off, of 6 and 6."""
    probe = Probe(tuple(np.exp(np.float32([6, 0, -6])).tolist()))
    assert probe.logit_error(np.exp(np.float32([6, -3, -3])), 0.0) == pytest.approx(0.5)
    assert probe.logit_error(np.exp(np.float32([6, 0, -6])), 0.0) == pytest.approx(0, abs=1e-6)


def test_logits_tell_two_certain_answers_apart() -> None:
    """Both say 1 for the first class; everything behind it is exchanged."""
    probe = Probe((1.0, 1e-9, 1e-12, 1e-20))
    answer = np.array([1.0, 1e-20, 1e-9, 1e-12], np.float32)
    assert probe.difference(answer) < 1e-8
    assert probe.logit_error(answer, 0.0) > LOGIT_TOLERANCES["float32"]


def test_integers_are_compared_by_what_they_can_show() -> None:
    probe = Probe((0.98, 0.02, 0.0))
    assert probe.logit_error(np.array([251 / 256, 5 / 256, 0], np.float32), 1 / 256) < 0.01


def test_an_answer_without_a_number_has_no_error() -> None:
    assert np.isnan(Probe((0.5, 0.5)).logit_error(np.array([np.nan, 1], np.float32), 0.0))


@pytest.mark.parametrize(
    ("probabilities", "step", "is_certain"),
    [
        ((0.0, 1.0, 0.0), 0.0, True),
        ((0.0, 1.0, 1e-20), 0.0, False),  # its logarithm tells
        ((0.0, 255 / 256), 1 / 256, True),  # the largest that integers hold
        ((2 / 256, 254 / 256), 1 / 256, False),
        ((1.0, 1.0, 0.0), 0.0, True),
    ],
)
def test_probabilities_of_0_and_1_are_certain(probabilities: tuple[float, ...], step: float, is_certain: bool) -> None:
    assert Probe(probabilities).is_certain(step) is is_certain
