"""The stage table counts right, and the picture shows every part of the network once."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import keras
import pytest
from rich.console import Console

from convert.keras_models.inception_resnet_v2 import inception_resnet_v2, unit_names
from convert.picture.drawing import network_svg
from convert.picture.graph import read_blocks, read_nodes
from convert.picture.layout import lay_out
from convert.picture.stages import StageSummary, factorise, format_macs, stage_table, stages
from tests.convert.keras_models.loading import full_network

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def full_model() -> keras.Model:
    return full_network()


@pytest.fixture(scope="module")
def full_stages(full_model: keras.Model) -> list[StageSummary]:
    return stages(full_model)


@pytest.fixture(scope="module")
def full_picture(full_model: keras.Model) -> Element:
    return ElementTree.fromstring(network_svg(full_model))


def small_model(repeats: tuple[int, int, int] = (1, 1, 1)) -> keras.Model:
    return inception_resnet_v2((75, 91, 3), 5, repeats=repeats, width=0.1)


def saved(*channels: int) -> int:
    square, pair = factorise(*channels)
    return square - pair


def test_the_articles_example_of_factorisation() -> None:
    assert factorise(256, 256, 256) == (3_211_520, 918_016)
    assert saved(256, 256, 256) == 2_293_504


def test_factorisation_counts_what_keras_counts() -> None:
    pair = keras.Sequential([keras.Input((9, 9, 4)), keras.layers.Conv2D(5, (1, 7)), keras.layers.Conv2D(6, (7, 1))])
    square = keras.Sequential([keras.Input((9, 9, 4)), keras.layers.Conv2D(6, 7)])
    assert (square.count_params(), pair.count_params()) == factorise(4, 5, 6)


def test_stages_of_the_full_network(full_stages: list[StageSummary]) -> None:
    assert [(stage.name, stage.output_shape, stage.convolutions, stage.parameters) for stage in full_stages] == [
        ("Stem", (35, 35, 384), 11, 608_320),
        ("10 x Inception-ResNet-A", (35, 35, 384), 70, 1_398_240),
        ("Reduction A", (17, 17, 1152), 4, 2_906_368),
        ("20 x Inception-ResNet-B", (17, 17, 1152), 100, 23_570_560),
        ("Reduction B", (8, 8, 2144), 7, 3_936_256),
        ("10 x Inception-ResNet-C", (8, 8, 2144), 50, 25_013_120),
        ("Classifier", (1000,), 0, 2_145_000),
    ]
    assert sum(stage.parameters for stage in full_stages) == 59_577_864
    assert sum(stage.convolutions for stage in full_stages) == 242


def test_work_of_the_full_network(full_stages: list[StageSummary]) -> None:
    pixels, channels = 17 * 17, 1152
    branches = channels * 192 + channels * 128 + 7 * 128 * 160 + 7 * 160 * 192
    block_b = pixels * (branches + (192 + 192) * channels)
    macs = {stage.key: stage.macs for stage in full_stages}
    assert macs["inception_resnet_B"] == 20 * block_b
    assert macs["classifier"] == 2144 * 1000
    assert sum(macs.values()) == 14_398_912_352


def test_savings_of_the_full_network(full_stages: list[StageSummary]) -> None:
    assert [stage.saved_by_factorisation for stage in full_stages] == [
        saved(64, 64, 64),
        0,
        0,
        20 * saved(128, 160, 192),
        0,
        10 * saved(192, 224, 256),
        0,
    ]


def test_table_has_a_row_for_every_stage_and_a_total(full_stages: list[StageSummary]) -> None:
    output = io.StringIO()
    Console(file=output, width=130).print(stage_table(full_stages))
    text = output.getvalue()
    for expected in (*(stage.name for stage in full_stages), "17x17x1152", "59,577,864", "242", "14.4 G", "34,114,176"):
        assert expected in text


@pytest.mark.parametrize(("macs", "text"), [(999_999, "999,999"), (2_144_000, "2.14 M"), (14_398_912_352, "14.4 G")])
def test_work_is_written_in_three_digits(macs: int, text: str) -> None:
    assert format_macs(macs) == text


def test_nodes_are_the_units_and_lose_no_parameter() -> None:
    model = small_model()
    nodes = read_nodes(model)
    assert [node.name for node in nodes if node.kind == "convolution"] == unit_names(model)
    assert sum(node.parameters for node in nodes) == model.count_params()
    assert sum(node.kind == "sum" for node in nodes) == 3


def test_picture_has_a_group_for_every_block_and_one_box_for_every_unit(
    full_model: keras.Model, full_picture: Element
) -> None:
    groups = {group.get("id"): group for group in full_picture.iter(f"{SVG}g") if group.get("id")}
    for letter, count in (("A", 10), ("B", 20), ("C", 10)):
        for number in range(1, count + 1):
            block = groups[f"inception_resnet_{letter}_{number}"]
            assert len(block.findall(f"{SVG}g")) == {"A": 9, "B": 7, "C": 7}[letter]  # units, concatenation, sum
    for name in unit_names(full_model):
        assert len(groups[name].findall(f"{SVG}rect")) == 1
        title = groups[name].findtext(f"{SVG}title") or ""
        for expected in (name, " parameters", " MACs"):
            assert expected in title


def test_picture_names_nothing_twice(full_picture: Element) -> None:
    counts = Counter(element.get("id") for element in full_picture.iter() if element.get("id"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_picture_shows_kernel_filters_and_shape(full_picture: Element) -> None:
    unit = full_picture.find(f".//{SVG}g[@id='reduction_A_part3_conv_bn_relu3']")
    assert unit is not None
    assert [text.text for text in unit.iter(f"{SVG}text")] == ["3×3 · 384 /2 V", "17×17×384"]


def test_picture_stands_alone(full_model: keras.Model, full_picture: Element) -> None:
    assert full_picture.get("viewBox")
    tags = {element.tag.removeprefix(SVG) for element in full_picture.iter()}
    assert tags == {"svg", "title", "style", "defs", "marker", "path", "rect", "circle", "g", "text"}
    text = network_svg(full_model).replace("http://www.w3.org/2000/svg", "")
    for forbidden in ("http", "href", "@import", "@font-face", "url(/", "onload"):
        assert forbidden not in text


@pytest.mark.parametrize("repeats", [(1, 1, 1), (0, 1, 0), (2, 5, 3)])
def test_any_configuration_is_drawn_within_the_picture(repeats: tuple[int, int, int]) -> None:
    model = small_model(repeats)
    picture = lay_out(read_blocks(model))
    assert sum(len(panel.frames) for panel in picture.panels) == sum(repeats) + 4
    for panel in picture.panels:
        right, bottom = panel.x + panel.width, panel.y + panel.height
        assert min(panel.x, panel.y) >= 0
        assert right <= picture.width
        assert bottom <= picture.height
        for frame in panel.frames:
            half = frame.width / 2
            assert panel.x < frame.x - half
            assert frame.x + half < right
            assert panel.y < frame.y
            assert frame.bottom < bottom
    assert ElementTree.fromstring(network_svg(model)).tag == f"{SVG}svg"


def test_nothing_in_a_block_overlaps() -> None:
    for panel in lay_out(read_blocks(small_model())).panels:
        for frame in panel.frames:
            boxes = sorted(frame.nodes, key=lambda node: (node.y, node.x))
            for above, below in pairwise(boxes):
                apart_sideways = below.x - below.width / 2 >= above.x + above.width / 2
                assert apart_sideways or below.y >= above.y + above.height, (above.node.name, below.node.name)


def test_full_picture_has_the_shape_of_a_screen(full_model: keras.Model) -> None:
    picture = lay_out(read_blocks(full_model))
    assert 1.2 < picture.width / picture.height < 2
