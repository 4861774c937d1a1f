"""Which device answers as no other does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convert.drift.decisions import DECISIONS
from convert.drift.odd_devices import Answers, answer_remarks
from edge_runtime.specs import INDEPENDENT, SOFTMAX

ROOT = Path("images")
CAT, DOG = (0.9, 0.1), (0.2, 0.8)


def answers(*rows: tuple[float, float]) -> Answers:
    """Image "0.png" -> the first row, and so on."""
    return {ROOT / f"{number}.png": ("pixels", np.array(row, np.float32)) for number, row in enumerate(rows)}


def said(there: dict[str, Answers], here: Answers, head: str = SOFTMAX) -> list[str]:
    return answer_remarks(there, here, DECISIONS[head], ROOT)


def test_nothing_is_odd_where_all_answer_alike() -> None:
    """Other probabilities of the same answer are no other answer."""
    assert said({"a": answers(CAT, DOG), "b": answers((0.6, 0.4), DOG)}, answers(CAT, DOG)) == []


def test_one_that_answers_one_image_otherwise_is_named() -> None:
    there = {"a": answers(CAT, DOG), "b": answers(CAT, CAT), "c": answers(CAT, DOG)}
    assert said(there, answers(CAT, DOG)) == ["b answers 1 image differently from the others, first 1.png"]


def test_of_two_devices_this_host_decides() -> None:
    there = {"a": answers(CAT, DOG), "b": answers(DOG, CAT)}
    assert said(there, answers(CAT, DOG)) == ["b answers 2 images differently from the others, first 0.png"]


def test_without_a_majority_nobody_is_blamed() -> None:
    there = {"a": answers(CAT), "b": answers(CAT), "c": answers(DOG)}
    assert said(there, answers(DOG)) == []


def test_an_image_that_one_device_cannot_read_is_left_to_the_others() -> None:
    there = {"a": answers(CAT), "b": answers(CAT, CAT), "c": answers(CAT, DOG)}
    assert said(there, answers(CAT, DOG)) == ["b answers 1 image differently from the others, first 1.png"]


def test_of_independent_labels_the_whole_set_counts() -> None:
    both, one = (0.9, 0.8), (0.9, 0.1)
    there = {"a": answers(both), "b": answers(one)}
    assert said(there, answers(both), INDEPENDENT) == ["b answers 1 image differently from the others, first 0.png"]
