"""What each stage of the network consists of: shapes, parameters, work, and what factorising 7x7 saves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import keras
from rich.table import Table

from convert.picture.graph import Block, Node, read_blocks


class StageSummary(NamedTuple):
    """One stage of the network, its repeated blocks taken together.

    Attributes:
        key: beginning of the names of its layers.
        blocks, convolutions, parameters: how many there are.
        output_shape: without the batch.
        macs: multiply-accumulates of the convolutions and the dense layer for one image.
        saved_by_factorisation: parameters that its pairs of 1x7 and 7x1 save against one 7x7 each.
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
        """Return `10 x Inception-ResNet-A` or `Stem`."""
        if self.key.startswith("inception_resnet"):
            return f"{self.blocks} x Inception-ResNet-{self.key[-1]}"
        return self.key.replace("_", " ").title()


def factorise(channels_in: int, middle: int, channels_out: int, size: int = 7) -> tuple[int, int]:
    """Return the parameters, biases included, of one size x size convolution and of a pair in its place.

    The pair is 1 x size (channels_in -> middle) and size x 1 (middle -> channels_out). The article's example has 256
    channels everywhere: 3,211,520 parameters against 918,016.
    """
    square = (size * size * channels_in + 1) * channels_out
    return square, (size * channels_in + 1) * middle + (size * middle + 1) * channels_out


def stages(model: keras.Model) -> list[StageSummary]:
    """Return the stages of a model made by `inception_resnet_v2`, stem to classifier."""
    grouped = itertools.groupby(read_blocks(model), key=lambda block: block.stage)
    return [_stage(key, list(blocks)) for key, blocks in grouped]


def totals(stages: Sequence[StageSummary]) -> dict[str, int]:
    """Return the sums of convolutions, parameters, MACs and savings over all stages."""
    return {name: sum(getattr(stage, name) for stage in stages) for name in StageSummary._fields[3:]}


def stage_table(stages: Sequence[StageSummary]) -> Table:
    """Return the stages as a table with a row of totals, for a terminal."""
    total = StageSummary("", 0, stages[-1].output_shape, **totals(stages))
    table = Table(title="Inception-ResNet-V2", show_footer=True)
    table.add_column("stage", "total")
    headings = ("output", "convolutions", "parameters", "MACs", "saved by 1x7, 7x1")
    for heading, figure in zip(headings, _figures(total), strict=True):
        table.add_column(heading, figure, justify="right")
    for stage in stages:
        table.add_row(stage.name, *_figures(stage))
    return table


def format_macs(macs: int) -> str:
    """Return `1.94 G`, `12.3 M` or a plain number below a million."""
    for divisor, unit in ((10**9, "G"), (10**6, "M")):
        if macs >= divisor:
            return f"{macs / divisor:.3g} {unit}"
    return f"{macs:,}"


def _figures(stage: StageSummary) -> tuple[str, ...]:
    """Return a row of the table, without its name."""
    saved = f"{stage.saved_by_factorisation:,}" if stage.saved_by_factorisation else ""
    counts = f"{stage.convolutions:,}", f"{stage.parameters:,}"
    return "x".join(map(str, stage.output_shape)), *counts, format_macs(stage.macs), saved


def _stage(key: str, blocks: list[Block]) -> StageSummary:
    nodes = [node for block in blocks for node in block.nodes]
    return StageSummary(
        key=key,
        blocks=len(blocks),
        output_shape=nodes[-1].shape,
        convolutions=sum(node.kind == "convolution" for node in nodes),
        parameters=sum(node.parameters for node in nodes),
        macs=sum(node.macs for node in nodes),
        saved_by_factorisation=_saved(nodes),
    )


def _saved(nodes: Sequence[Node]) -> int:
    """Return what every 1 x n convolution saves that an n x 1 follows directly."""
    by_name, saved = {node.name: node for node in nodes}, 0
    for second in nodes:
        first = by_name.get(second.inputs[0]) if second.inputs else None
        size = second.kernel[0]
        if first and size > 1 and second.kernel == (size, 1) and first.kernel == (1, size):
            square, pair = factorise(first.layer.kernel.shape[2], first.shape[-1], second.shape[-1], size)
            saved += square - pair
    return saved
