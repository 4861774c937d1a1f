"""Float islands: found where they are, timed with their conversions, and told in one line for all that are alike."""

from __future__ import annotations

from convert.audit.islands import FloatIsland, float_islands, island_lines, timed
from convert.tflite.graph import TfliteGraph
from tests.convert.audit.damage import activation, insert_a_float_island


def test_a_sound_network_has_none(int8: TfliteGraph) -> None:
    """Its float head is none, nor is the shift of a float input."""
    assert not float_islands(int8)


def test_an_island_is_found_timed_and_survives_a_report(int8: TfliteGraph) -> None:
    before = int8.tensor_name(activation(int8))
    insert_a_float_island(int8)
    model = int8.to_bytes()
    (island,) = timed(model, float_islands(TfliteGraph(model)))
    assert before in island.reads
    assert len(island.operators) == 2
    assert island.milliseconds is not None
    assert 0 <= island.milliseconds < 1000
    assert FloatIsland.from_json(island.to_json()) == island
    (line,) = island_lines([island])
    assert line.startswith(", ".join(dict.fromkeys(island.operators)))
    assert line.endswith(" ms an image")


def test_islands_that_are_alike_share_a_line() -> None:
    islands = [FloatIsland(("EXP", "LOG", "EXP"), f"mish_{i}", ("a",), ("b",), 0.25) for i in range(5)]
    other = FloatIsland(("POW",), "cube", ("c",), ("d",))
    assert island_lines([*islands, other]) == [
        "EXP, LOG at mish_0, mish_1, mish_2 and 2 more: 1.25 ms an image",
        "POW at cube",
    ]
