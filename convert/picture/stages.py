"""What the network is made of, stage by stage: shapes, parameters, work, and what factorising 7x7 saves."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras
from rich.table import Table

from convert.picture.graph import Block, Kind, Node, read_blocks

STAGE_TITLES = {
    "stem": "Stem",
    "inception_resnet_A": "Inception-ResNet-A",
    "reduction_A": "Reduction A",
    "inception_resnet_B": "Inception-ResNet-B",
    "reduction_B": "Reduction B",
    "inception_resnet_C": "Inception-ResNet-C",
    "classifier": "Classifier",
}


@dataclass(frozen=True)
class Stage:
    """One stage of the network, its repeated blocks taken together.

    `key` begins the names of its layers. `output_shape` has no batch. `macs` are the
    multiply-accumulates of convolutions and the dense layer for one image. `saved_by_factorisation` is
    the number of parameters its 1x7 and 7x1 pairs save against one 7x7 each.
    """

    key: str
    blocks: int
    output_shape: tuple[int, ...]
    convolutions: int
    parameters: int
    macs: int
    saved_by_factorisation: int

    @property
    def name(self) -> str:
        """`10 x Inception-ResNet-A` or `Stem`."""
        title = STAGE_TITLES[self.key]
        return f"{self.blocks} x {title}" if self.key.startswith("inception") else title


@dataclass(frozen=True)
class Factorisation:
    """Parameters, biases included, of one n x n convolution and of the 1 x n and n x 1 pair in its place."""

    square: int
    pair: int

    @property
    def saved(self) -> int:
        return self.square - self.pair


def factorise(channels_in: int, middle: int, channels_out: int, size: int = 7) -> Factorisation:
    """Compare size x size (channels_in -> channels_out) with 1 x size (-> middle), size x 1 (-> channels_out).

    The article's example has 256 channels everywhere: 3,211,520 parameters against 918,016.
    """
    square = size * size * channels_in * channels_out + channels_out
    first = size * channels_in * middle + middle
    second = size * middle * channels_out + channels_out
    return Factorisation(square, first + second)


def stages(model: keras.Model) -> list[Stage]:
    """Stages of a model made by `convert.keras_models.inception_resnet_v2.inception_resnet_v2`, stem to classifier."""
    grouped = itertools.groupby(read_blocks(model), key=lambda block: block.stage)
    return [_stage(key, list(blocks)) for key, blocks in grouped]


def stage_table(stages: Sequence[Stage]) -> Table:
    """The stages as a table with a row of totals, for a terminal."""
    table = Table(title="Inception-ResNet-V2", show_footer=True)
    table.add_column("stage", "total")
    table.add_column("output", format_shape(stages[-1].output_shape), justify="right")
    for heading, total in (
        ("convolutions", f"{sum(stage.convolutions for stage in stages):,}"),
        ("parameters", f"{sum(stage.parameters for stage in stages):,}"),
        ("MACs", format_macs(sum(stage.macs for stage in stages))),
        ("saved by 1x7, 7x1", f"{sum(stage.saved_by_factorisation for stage in stages):,}"),
    ):
        table.add_column(heading, total, justify="right")
    for stage in stages:
        table.add_row(
            stage.name,
            format_shape(stage.output_shape),
            f"{stage.convolutions:,}",
            f"{stage.parameters:,}",
            format_macs(stage.macs),
            f"{stage.saved_by_factorisation:,}" if stage.saved_by_factorisation else "",
        )
    return table


def format_shape(shape: Iterable[int]) -> str:
    """`35x35x384`."""
    return "x".join(map(str, shape))


def format_macs(macs: int) -> str:
    """`1.94 G`, `12.3 M` or a plain number below a million."""
    for divisor, unit in ((10**9, "G"), (10**6, "M")):
        if macs >= divisor:
            return f"{macs / divisor:.3g} {unit}"
    return f"{macs:,}"


def _stage(key: str, blocks: list[Block]) -> Stage:
    nodes = [node for block in blocks for node in block.nodes]
    return Stage(
        key=key,
        blocks=len(blocks),
        output_shape=nodes[-1].shape,
        convolutions=sum(node.kind is Kind.CONVOLUTION for node in nodes),
        parameters=sum(node.parameters for node in nodes),
        macs=sum(node.macs for node in nodes),
        saved_by_factorisation=sum(pair.saved for pair in _factorised_pairs(nodes)),
    )


def _factorised_pairs(nodes: Sequence[Node]) -> list[Factorisation]:
    """Every 1 x n convolution that an n x 1 follows directly."""
    by_name = {node.name: node for node in nodes}
    pairs = []
    for second in nodes:
        first = by_name.get(second.inputs[0]) if second.inputs else None
        size = second.kernel[0]
        if first and size > 1 and second.kernel == (size, 1) and first.kernel == (1, size):
            pairs.append(factorise(first.channels_in, first.shape[-1], second.shape[-1], size))
    return pairs
