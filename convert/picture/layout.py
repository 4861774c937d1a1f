"""Where everything goes in the picture of the network: pure geometry, in pixels, computed from its blocks.

Inside a block the data flows down and parallel branches stand side by side. Blocks stand under each other in columns,
columns side by side in one panel per stage, and a stage that happens once (a reduction, the classifier) stands below
the repeated one that it ends.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from convert.picture.graph import Block, Node

Point = tuple[float, float]

NODE_WIDTH = 118
NODE_HEIGHTS = defaultdict(lambda: 42, {"concat": 20, "sum": 50})
LANE = 132
ROW_GAP = 22
FRAME_SIDE = 36
FRAME_TOP = 50
FRAME_BOTTOM = 16
FRAME_GAP = 34
COLUMN_GAP = 48
PANEL_PADDING = 36
PANEL_GAP = 30
GROUP_GAP = 76
HEADER_HEIGHT = 184
HEADER_BESIDE_WIDTH = 300
"""A header stands beside its only frame where this much is free, else above."""
LEGEND_WIDTH = 440
"""Least room in the leftmost panel, below which the legend stands."""
FRAMES_PER_SQUARED_ROW = 1.6
"""Repeated blocks divided by the square of those in a column; gives the picture the shape of a screen."""


class PlacedNode(NamedTuple):
    """A node; `x` is its centre and `y` its top, from the middle of the top of its frame."""

    node: Node
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        """Return the height of its box."""
        return NODE_HEIGHTS[self.node.kind]


class Arrow(NamedTuple):
    """The corners of a line from one node to the next, from the middle of the top of the frame."""

    corners: list[Point]
    is_residual: bool = False


class BlockFrame(NamedTuple):
    """A block drawn: its nodes and arrows, its size, and where in the picture the middle of its top is."""

    block: Block
    nodes: list[PlacedNode]
    arrows: list[Arrow]
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0

    @property
    def bottom(self) -> float:
        """Return where the arrow to the next frame begins, below `x`."""
        return self.y + self.height


class Panel(NamedTuple):
    """A stage in the picture: its frames, and room of `header_width` for its name at the top left."""

    stage: str
    frames: list[BlockFrame]
    x: float
    y: float
    width: float
    height: float
    header_width: float

    @property
    def bottom(self) -> float:
        """Return where it ends."""
        return self.y + self.height


class Picture(NamedTuple):
    """All panels, the corners of the arrows from block to block, and the size of the whole."""

    panels: list[Panel]
    spine: list[list[Point]]
    width: float
    height: float


def lay_out(blocks: Sequence[Block]) -> Picture:
    """Place all blocks, as many in a column as give the picture about the shape of a screen."""
    stages = [list(stage) for _, stage in itertools.groupby(map(draw_block, blocks), lambda each: each.block.stage)]
    repeated = sum(block.is_repeated for block in blocks)
    per_column = max(1, round(math.sqrt(repeated / FRAMES_PER_SQUARED_ROW)))
    groups: list[list[list[list[BlockFrame]]]] = []
    for stage in stages:
        if stage[0].block.is_repeated or not groups:
            groups.append([])
        groups[-1].append(_columns(stage, per_column))
    panels: list[Panel] = []
    x = 0.0
    for group in groups:
        width = max(*map(_width, group), 0 if panels else LEGEND_WIDTH) + 2 * PANEL_PADDING
        above, y = None, 0.0
        for columns in group:
            panels.append(_panel(columns, (x, y), width, above))
            above, y = panels[-1].frames[-1].x, y + panels[-1].height + PANEL_GAP
        x += width + GROUP_GAP
    return Picture(panels, _spine(panels), x - GROUP_GAP, max(panel.bottom for panel in panels))


def draw_block(block: Block) -> BlockFrame:
    """Place the nodes of one block and the arrows between them; the frame is not placed yet."""
    placed = _placed_nodes(block)
    half_width = max(abs(node.x) for node in placed.values()) + NODE_WIDTH / 2 + FRAME_SIDE
    arrows = [arrow for node in placed.values() for arrow in _arrows(node, placed, half_width)]
    bottom = max(node.y + node.height for node in placed.values())
    arrows.append(Arrow([(0, bottom), (0, bottom + FRAME_BOTTOM)]))
    return BlockFrame(block, list(placed.values()), arrows, 2 * half_width, bottom + FRAME_BOTTOM)


def _placed_nodes(block: Block) -> dict[str, PlacedNode]:
    """Return each node below its inputs; branches from one source side by side around it, their join in the middle."""
    followers: dict[str, list[str]] = defaultdict(list)
    for node in block.nodes:
        if len(node.inputs) == 1:
            followers[node.inputs[0]].append(node.name)
    placed: dict[str, PlacedNode] = {}
    for node in block.nodes:
        inputs = [placed[name] for name in node.inputs if name in placed]
        x, width = 0.0, float(NODE_WIDTH)
        if len(node.inputs) == 1:
            siblings = followers[node.inputs[0]]
            x = (inputs[0].x if inputs else 0.0) + (siblings.index(node.name) - (len(siblings) - 1) / 2) * LANE
        elif node.kind == "concat":
            width += max(each.x for each in inputs) - min(each.x for each in inputs)
        y = max((each.y + each.height + ROW_GAP for each in inputs), default=FRAME_TOP)
        placed[node.name] = PlacedNode(node, x, y, width)
    return placed


def _arrows(target: PlacedNode, placed: dict[str, PlacedNode], half_width: float) -> list[Arrow]:
    """Return an arrow for every input of `target`; the block's own input comes in at the middle of the top."""
    arrows = []
    for name in target.node.inputs:
        source = placed.get(name)
        x, y = (source.x, source.y + source.height) if source else (0.0, 0.0)
        fork = y + ROW_GAP / 2 if source else FRAME_TOP - ROW_GAP / 2
        if target.node.kind == "sum" and source is None:
            lane, middle = half_width - FRAME_SIDE / 2, target.y + 12
            corners = [(x, y), (x, fork), (lane, fork), (lane, middle), (target.x + 12, middle)]
        elif target.node.kind == "concat" or x == target.x:
            corners = [(x, y), (x, target.y)]
        else:
            corners = [(x, y), (x, fork), (target.x, fork), (target.x, target.y)]
        arrows.append(Arrow(corners, is_residual=len(corners) == 5))
    return arrows


def _columns(stage: list[BlockFrame], per_column: int) -> list[list[BlockFrame]]:
    """Split a stage into columns of equal length, the last one shorter where need be."""
    rows = math.ceil(len(stage) / math.ceil(len(stage) / per_column))
    return [stage[start : start + rows] for start in range(0, len(stage), rows)]


def _width(columns: list[list[BlockFrame]]) -> float:
    return sum(column[0].width + COLUMN_GAP for column in columns) - COLUMN_GAP


def _panel(columns: list[list[BlockFrame]], corner: Point, width: float, above: float | None) -> Panel:
    """Place a stage's frames: in the middle of the panel, or below the frame that it follows, centred at `above`."""
    (x, top), used = corner, _width(columns)
    least = x + PANEL_PADDING
    most = x + width - PANEL_PADDING - used
    left = (least + most) / 2 if above is None else min(max(above - used / 2, least), most)
    free = left - least - PANEL_PADDING
    is_beside = len(columns) == 1 and free >= HEADER_BESIDE_WIDTH
    header_width = free if is_beside else width - 2 * PANEL_PADDING
    if above is not None and not is_beside:  # the arrow from above comes in beside the header
        header_width = free + used / 2
    frames = []
    for column in columns:
        y = top + (PANEL_PADDING if is_beside else HEADER_HEIGHT)
        for frame in column:
            frames.append(frame._replace(x=left + frame.width / 2, y=y))
            y += frame.height + FRAME_GAP
        left += column[0].width + COLUMN_GAP
    height = max(frame.bottom for frame in frames) + PANEL_PADDING - top
    return Panel(columns[0][0].block.stage, frames, x, top, width, height, header_width)


def _spine(panels: list[Panel]) -> list[list[Point]]:
    """Return lines from block to block: down, or through the gap on the left of the next column and in from the top."""
    placed = [(frame, panel) for panel in panels for frame in panel.frames]
    lines = []
    for (before, panel_before), (after, panel_after) in itertools.pairwise(placed):
        x, y, above = before.x, before.bottom, after.y - FRAME_GAP / 2
        if after.y > y:
            corners = [(x, y), (x, above)]
        else:
            gutter = after.x - after.width / 2 - COLUMN_GAP / 2
            if panel_before.x != panel_after.x:
                gutter = panel_after.x - GROUP_GAP / 2
            below = y + FRAME_GAP / 2
            corners = [(x, y), (x, below), (gutter, below), (gutter, above)]
        lines.append([*corners, (after.x, above), (after.x, after.y)])
    return lines
