"""Where everything goes in the picture of the network: pure geometry, in pixels, computed from its blocks.

Inside a block the data flows down and parallel branches stand side by side: a node's row is its longest
distance from the block's input, its lane tells it from its siblings. Blocks stand under each
other in columns, columns side by side in one panel a stage, and a stage that happens once (a reduction,
the classifier) below the repeated one it ends.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from convert.picture.graph import Block, Kind, Node

Point = tuple[float, float]

NODE_WIDTH = 118
LANE = 132
ROW_GAP = 22
CARD_SIDE = 36
CARD_TOP = 50
CARD_BOTTOM = 16
CARD_GAP = 34
COLUMN_GAP = 48
PANEL_PADDING = 36
PANEL_GAP = 30
GROUP_GAP = 76
HEADER_HEIGHT = 184
HEADER_BESIDE_WIDTH = 300
"""A header stands beside its only card where this much is free, else above."""
ASPECT = 1.6
"""Width over height the picture should come near: that of a screen."""

_HEIGHTS = {Kind.CONCATENATION: 20, Kind.SUM: 50}
_HEIGHT = 42


@dataclass(frozen=True)
class PlacedNode:
    """A node; `x` is its centre and `y` its top, from the middle of the top of its card."""

    node: Node
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return _HEIGHTS.get(self.node.kind, _HEIGHT)


@dataclass(frozen=True)
class Arrow:
    """Corners from one node to the next, from the middle of the top of the card."""

    corners: tuple[Point, ...]
    is_residual: bool = False


@dataclass(frozen=True)
class BlockLayout:
    """One block drawn: its nodes and arrows, and the size of the card that holds them."""

    block: Block
    nodes: tuple[PlacedNode, ...]
    arrows: tuple[Arrow, ...]
    width: float
    height: float


@dataclass(frozen=True)
class BlockBox:
    """A block on the picture; `x` is the middle of its top."""

    layout: BlockLayout
    x: float
    y: float

    @property
    def exit(self) -> Point:
        return self.x, self.y + self.layout.height


@dataclass(frozen=True)
class Panel:
    """A stage on the picture: its cards, and room of `header_width` for its name at the top left."""

    stage: str
    cards: tuple[BlockBox, ...]
    x: float
    y: float
    width: float
    height: float
    header_width: float


@dataclass(frozen=True)
class Picture:
    """All panels, the spine that joins block to block, and the size of the whole."""

    panels: tuple[Panel, ...]
    spine: tuple[Arrow, ...]
    width: float
    height: float


def lay_out(blocks: Sequence[Block], first_group_width: float = 0) -> Picture:
    """Place all blocks, with as many in a column as brings the picture nearest to a screen's shape.

    `first_group_width` is the least width of the leftmost group of panels.
    """
    layouts = [lay_out_block(block) for block in blocks]
    most = max(len(stage) for stage in _by_stage(layouts))
    pictures = (_picture(layouts, per_column, first_group_width) for per_column in range(1, most + 1))
    return min(pictures, key=lambda picture: abs(math.log(picture.width / picture.height / ASPECT)))


def lay_out_block(block: Block) -> BlockLayout:
    """Rows, lanes and arrows of one block."""
    inside = {node.name for node in block.nodes}
    rows: dict[str, int] = {}
    for node in block.nodes:
        rows[node.name] = 1 + max((rows[name] for name in node.inputs if name in inside), default=-1)
    tops, bottom = _row_tops(block, rows)
    centres = _lane_centres(block)
    placed: dict[str, PlacedNode] = {}
    for node in block.nodes:
        width: float = NODE_WIDTH
        if node.kind is Kind.CONCATENATION:
            inputs = [centres[name] for name in node.inputs]
            width += max(inputs) - min(inputs)
        placed[node.name] = PlacedNode(node, centres[node.name], tops[rows[node.name]], width)
    half_width = max(abs(centre) for centre in centres.values()) + NODE_WIDTH / 2 + CARD_SIDE
    arrows = [arrow for node in placed.values() for arrow in _arrows(node, placed, half_width)]
    arrows.append(Arrow(((0, bottom), (0, bottom + CARD_BOTTOM))))
    return BlockLayout(block, tuple(placed.values()), tuple(arrows), 2 * half_width, bottom + CARD_BOTTOM)


def _row_tops(block: Block, rows: dict[str, int]) -> tuple[list[float], float]:
    """Top of every row of nodes, and the bottom of the last."""
    heights = [0.0] * (1 + max(rows.values()))
    for node in block.nodes:
        heights[rows[node.name]] = max(heights[rows[node.name]], _HEIGHTS.get(node.kind, _HEIGHT))
    tops = [CARD_TOP + sum(heights[:row]) + row * ROW_GAP for row in range(len(heights))]
    return tops, tops[-1] + heights[-1]


def _lane_centres(block: Block) -> dict[str, float]:
    """Branches from one source stand side by side around it; where branches join is the middle again."""
    outside = ""
    inside = {node.name for node in block.nodes}
    followers: dict[str, list[str]] = defaultdict(list)
    for node in block.nodes:
        if len(node.inputs) == 1:
            followers[node.inputs[0] if node.inputs[0] in inside else outside].append(node.name)
    centres = {node.name: 0.0 for node in block.nodes}
    for source, siblings in followers.items():  # sources come in the order of the nodes: before their followers
        for lane, name in enumerate(siblings):
            centres[name] = centres.get(source, 0.0) + (lane - (len(siblings) - 1) / 2) * LANE
    return centres


def _arrows(target: PlacedNode, placed: dict[str, PlacedNode], half_width: float) -> list[Arrow]:
    """One arrow for every input of `target`; the block's own input comes in at the middle of the top."""
    arrows = []
    for name in target.node.inputs:
        source = placed.get(name)
        x, y = (source.x, source.y + source.height) if source else (0.0, 0.0)
        fork = y + ROW_GAP / 2 if source else CARD_TOP - ROW_GAP / 2
        if target.node.kind is Kind.SUM and source is None:
            lane, middle = half_width - CARD_SIDE / 2, target.y + 12
            arrows.append(Arrow(((x, y), (x, fork), (lane, fork), (lane, middle), (target.x + 12, middle)), True))
        elif target.node.kind is Kind.CONCATENATION or x == target.x:
            arrows.append(Arrow(((x, y), (x, target.y))))
        else:
            arrows.append(Arrow(((x, y), (x, fork), (target.x, fork), (target.x, target.y))))
    return arrows


def _by_stage(layouts: Sequence[BlockLayout]) -> list[list[BlockLayout]]:
    return [list(stage) for _, stage in itertools.groupby(layouts, key=lambda layout: layout.block.stage)]


def _is_repeated(stage: Sequence[BlockLayout]) -> bool:
    return stage[0].block.name != stage[0].block.stage


def _picture(layouts: Sequence[BlockLayout], per_column: int, first_group_width: float) -> Picture:
    groups: list[list[list[BlockLayout]]] = []
    for stage in _by_stage(layouts):
        if _is_repeated(stage) or not groups:
            groups.append([])
        groups[-1].append(stage)
    panels: list[Panel] = []
    x = 0.0
    for group in groups:
        least = 0.0 if panels else first_group_width
        placed = _place_group(group, x, per_column, least)
        panels += placed
        x += placed[0].width + GROUP_GAP
    height = max(panel.y + panel.height for panel in panels)
    return Picture(tuple(panels), _spine(panels), x - GROUP_GAP, height)


def _place_group(group: Sequence[list[BlockLayout]], x: float, per_column: int, least_width: float) -> list[Panel]:
    """The panels of one group under each other, all as wide as the widest."""
    columns = [_columns(stage, per_column) for stage in group]
    width = max(least_width, *(_columns_width(stage) for stage in columns)) + 2 * PANEL_PADDING
    panels: list[Panel] = []
    y = 0.0
    for stage in columns:
        panel = _place_panel(stage, x, y, width, panels[-1].cards[-1].x if panels else None)
        panels.append(panel)
        y += panel.height + PANEL_GAP
    return panels


def _columns(stage: Sequence[BlockLayout], per_column: int) -> list[list[BlockLayout]]:
    """The blocks of a stage in columns of equal length, the last one shorter where need be."""
    rows = math.ceil(len(stage) / math.ceil(len(stage) / per_column))
    return [list(stage[start : start + rows]) for start in range(0, len(stage), rows)]


def _columns_width(columns: Sequence[Sequence[BlockLayout]]) -> float:
    return sum(column[0].width for column in columns) + (len(columns) - 1) * COLUMN_GAP


def _place_panel(
    columns: Sequence[Sequence[BlockLayout]], x: float, y: float, width: float, above: float | None
) -> Panel:
    """A stage's cards; a single column stands below the card it follows, centred at `above`."""
    room = width - 2 * PANEL_PADDING
    used = _columns_width(columns)
    left = x + PANEL_PADDING + (room - used) / 2
    if above is not None:
        left = min(max(above - used / 2, x + PANEL_PADDING), x + PANEL_PADDING + room - used)
    free = left - x - 2 * PANEL_PADDING
    header_beside = len(columns) == 1 and free >= HEADER_BESIDE_WIDTH
    header_width = free if header_beside else room
    if above is not None and not header_beside:  # the arrow from above comes in beside the header
        header_width = left + used / 2 - x - 2 * PANEL_PADDING
    top = y + (PANEL_PADDING if header_beside else HEADER_HEIGHT)
    cards: list[BlockBox] = []
    bottom = top
    for column in columns:
        card_y = top
        for layout in column:
            cards.append(BlockBox(layout, left + column[0].width / 2, card_y))
            bottom = max(bottom, card_y + layout.height)
            card_y += layout.height + CARD_GAP
        left += column[0].width + COLUMN_GAP
    stage = columns[0][0].block.stage
    height = bottom + PANEL_PADDING - y
    return Panel(stage, tuple(cards), x, y, width, height, header_width)


def _spine(panels: Sequence[Panel]) -> tuple[Arrow, ...]:
    """Arrows from block to block: down, or through the gap on the left of the next column and in from the top."""
    placed = [(card, panel) for panel in panels for card in panel.cards]
    arrows = []
    for (before, panel_before), (after, panel_after) in itertools.pairwise(placed):
        (x, y), (to_x, to_y) = before.exit, (after.x, after.y)
        half_gap = CARD_GAP / 2
        if to_y > y:
            fork = to_y - half_gap
            corners = [(x, y), (x, fork), (to_x, fork), (to_x, to_y)]
        else:
            gutter = to_x - after.layout.width / 2 - COLUMN_GAP / 2
            if panel_before.x != panel_after.x:
                gutter = panel_after.x - GROUP_GAP / 2
            below, above = y + half_gap, to_y - half_gap
            corners = [(x, y), (x, below), (gutter, below), (gutter, above), (to_x, above), (to_x, to_y)]
        arrows.append(Arrow(tuple(corners)))
    return tuple(arrows)
