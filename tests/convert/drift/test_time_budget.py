"""Images of a scheme on reference kernels: what is asked for rules, and else what takes no longer than the budget."""

from __future__ import annotations

import numpy as np
import pytest

from convert.drift import time_budget
from convert.drift.time_budget import BUDGET_S, FEWEST, affordable, seconds_per_image, time_note
from convert.quantization.quantize import QuantizedModel
from tests.edge_runtime.tiny_model import SIZE, SPEC, tiny_flatbuffer


@pytest.mark.parametrize(
    ("seconds", "available", "asked", "images"),
    [
        (0.5, 800, None, int(BUDGET_S / 0.5)),
        (0.5, 100, None, 100),
        (0.5, 800, 700, 700),
        (0.5, 300, 700, 300),
        (90.0, 800, None, FEWEST),
        (90.0, 800, 96, 96),
        (90.0, 3, None, 3),
    ],
)
def test_what_is_asked_for_rules_and_else_the_time(
    seconds: float, available: int, asked: int | None, images: int
) -> None:
    assert affordable(seconds, available, asked) == images


def test_the_time_is_said_with_the_option_for_more() -> None:
    assert time_note("int16x8", 0.45, 266, 800) == (
        "int16x8 runs on reference kernels: about 120 s for 266 images of 800; --validation-size 800 takes about 360 s"
    )
    assert time_note("int16x8", 0.45, 800, 800) == "int16x8 runs on reference kernels: about 360 s for 800 images"


def test_the_time_of_an_image_is_that_of_one_worker_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 14.0])
    monkeypatch.setattr(time_budget.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(time_budget.os, "cpu_count", lambda: 4)
    pixels = [np.zeros((SIZE, SIZE, 3), np.uint8)] * 5
    assert seconds_per_image(QuantizedModel(tiny_flatbuffer(), "normalized"), SPEC, pixels) == 4.0 / 2 / 4
