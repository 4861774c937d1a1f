"""The whole network as one SVG picture: every convolution unit a box, every block drawn, text to the last zoom.

The picture stands alone: no scripts, no fonts or images from elsewhere. Rest the pointer on anything to
read its name in the article, its parameters and its multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import keras

from convert.picture.graph import Kind, Node, read_blocks
from convert.picture.layout import (
    NODE_WIDTH,
    PANEL_GAP,
    PANEL_PADDING,
    Arrow,
    BlockBox,
    Panel,
    Picture,
    PlacedNode,
    Point,
    lay_out,
)
from convert.picture.stages import Stage, format_macs, format_shape, stages

MARGIN = 70
TITLE_HEIGHT = 200
LEGEND_WIDTH = 440
CORNER = 9
"""Radius of the bends of arrows, in pixels."""


class Colours(NamedTuple):
    """What a stage is drawn in: lines and headings, boxes, background of its panel."""

    ink: str
    box: str
    panel: str


COLOURS = {
    "stem": Colours("#3f4f63", "#dbe3ec", "#f3f6f9"),
    "inception_resnet_A": Colours("#0b6b62", "#c5f0e8", "#eefaf7"),
    "reduction_A": Colours("#9a5b00", "#fbe3a8", "#fdf8e9"),
    "inception_resnet_B": Colours("#1d4fbf", "#d3e2fd", "#f0f5fe"),
    "reduction_B": Colours("#b03a10", "#fdd9c4", "#fdf3ed"),
    "inception_resnet_C": Colours("#6d28b8", "#e9dafb", "#f8f3fd"),
    "classifier": Colours("#b0174b", "#fcd5df", "#fdf1f4"),
}

_STYLE = """
text { font-family: "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1e293b; }
.kernel { font-size: 13px; font-weight: 600; text-anchor: middle; }
.shape { font-size: 10.5px; text-anchor: middle; fill: #475569; }
.small { font-size: 11px; fill: #64748b; }
.note { font-size: 14px; fill: #475569; }
.end { text-anchor: end; }
.box { stroke-width: 1.2; }
.factorised { stroke-dasharray: 5 3; stroke-width: 1.6; }
.neutral { fill: #ffffff; stroke: #64748b; }
.frame { fill: #ffffff; stroke: #cbd5e1; stroke-width: 1.5; }
.card { fill: #ffffff; stroke-width: 1.5; }
.panel { stroke-width: 1.5; stroke-opacity: 0.35; }
.arrow { fill: none; stroke: #64748b; stroke-width: 1.4; marker-end: url(#tip); }
.residual { stroke: #0f172a; stroke-width: 2; marker-end: url(#residual-tip); }
.spine { fill: none; stroke: #334155; stroke-width: 4; marker-end: url(#spine-tip); }
g:hover > .box { stroke-width: 3; }
"""


def network_svg(model: keras.Model) -> str:
    """Draw a model made by `inception_resnet_v2`; returns the text of an .svg file."""
    blocks = read_blocks(model)
    described = stages(model)
    picture = lay_out(blocks, first_group_width=LEGEND_WIDTH)
    legend_top = max(panel.y + panel.height for panel in picture.panels if panel.x == 0) + PANEL_GAP
    legend, legend_height = _legend(described, picture.panels[0].width)
    legend.set("transform", f"translate(0 {legend_top:g})")
    width = picture.width + 2 * MARGIN
    height = TITLE_HEIGHT + max(picture.height, legend_top + legend_height) + MARGIN
    svg = _element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
    )
    svg.append(_element("title", "Inception-ResNet-V2"))
    svg.append(_element("style", _STYLE + "".join(_stage_style(key) for key in COLOURS)))
    svg.append(_arrow_tips())
    svg.append(_element("rect", width=f"{width:g}", height=f"{height:g}", fill="#ffffff"))
    svg.extend(_title(blocks[0].nodes[0].shape, described, width - 2 * MARGIN))
    svg.append(_group((MARGIN, TITLE_HEIGHT), *_panels(picture, described), *_spine(picture), legend))
    ElementTree.indent(svg, space=" ")
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _element(tag: str, text: str = "", **attributes: object) -> Element:
    """Make an element; `class_name` is spelled `class` and `_` in attribute names `-`."""
    names = {name: "class" if name == "class_name" else name.replace("_", "-") for name in attributes}
    element = Element(tag, {names[name]: str(value) for name, value in attributes.items()})
    element.text = text or None
    return element


def _group(origin: Point, *children: Element, **attributes: str) -> Element:
    """Children drawn with their (0, 0) at `origin`."""
    group = _element("g", "", transform=f"translate({origin[0]:g} {origin[1]:g})", **attributes)
    group.extend(children)
    return group


def _text(x: float, y: float, text: str, class_name: str) -> Element:
    return _element("text", text, x=f"{x:g}", y=f"{y:g}", class_name=class_name)


def _large_text(x: float, y: float, text: str, size: float, room: float, class_name: str = "") -> Element:
    """Text of at most `size` pixels that fits in `room`, whichever of the fonts draws it."""
    widest_letter = 0.62
    fitting = min(size, room / (widest_letter * len(text)))
    element = _element("text", text, x=f"{x:g}", y=f"{y:g}", font_size=f"{fitting:.3g}")
    if class_name:
        element.set("class", class_name)
    return element


def _rectangle(x: float, y: float, width: float, height: float, radius: float, class_name: str) -> Element:
    return _element(
        "rect",
        x=f"{x:g}",
        y=f"{y:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        rx=f"{radius:g}",
        class_name=class_name,
    )


def _stage_style(stage: str) -> str:
    ink, box, panel = COLOURS[stage]
    return (
        f".{stage} .unit {{ fill: {box}; stroke: {ink}; }} .{stage} .panel {{ fill: {panel}; stroke: {ink}; }} "
        f".{stage} .card {{ stroke: {ink}; }} .{stage} .ink {{ fill: {ink}; font-weight: 600; }}\n"
    )


def _arrow_tips() -> Element:
    definitions = _element("defs")
    for name, size, colour in (("tip", 6, "#64748b"), ("residual-tip", 4.5, "#0f172a"), ("spine-tip", 3.6, "#334155")):
        marker = _element(
            "marker", id=name, viewBox="0 0 10 10", refX=9, refY=5, markerWidth=size, markerHeight=size, orient="auto"
        )
        marker.append(_element("path", d="M0 0L10 5L0 10z", fill=colour))
        definitions.append(marker)
    return definitions


def _title(image: Sequence[int], described: Sequence[Stage], room: float) -> list[Element]:
    facts = (
        f"{_times(image)} image to {described[-1].output_shape[-1]:,} classes  ·  "
        f"{sum(stage.convolutions for stage in described)} convolutions  ·  "
        f"{sum(stage.parameters for stage in described):,} parameters  ·  "
        f"{format_macs(sum(stage.macs for stage in described))} MACs"
    )
    return [
        _large_text(MARGIN, MARGIN + 40, "Inception-ResNet-V2", 84, room),
        _large_text(MARGIN, MARGIN + 96, facts, 38, room),
    ]


def _panels(picture: Picture, described: Sequence[Stage]) -> list[Element]:
    by_key = {stage.key: stage for stage in described}
    return [_panel(panel, by_key[panel.stage]) for panel in picture.panels]


def _panel(panel: Panel, stage: Stage) -> Element:
    """A stage: background, heading, cards."""
    group = _element("g", id=f"stage_{stage.key}", class_name=stage.key)
    group.append(_rectangle(panel.x, panel.y, panel.width, panel.height, 18, "panel"))
    left = panel.x + PANEL_PADDING
    name = stage.name.replace(" x ", " × ")
    group.append(_large_text(left, panel.y + 62, name, 50, panel.header_width, "ink"))
    facts = [f"output {_times(stage.output_shape)}", f"{stage.parameters:,} parameters, {format_macs(stage.macs)} MACs"]
    for line, fact in enumerate(facts):
        group.append(_large_text(left, panel.y + 98 + 32 * line, fact, 25, panel.header_width))
    group.extend(_card(card) for card in panel.cards)
    return group


def _card(card: BlockBox) -> Element:
    """A block: its frame, name, nodes and arrows."""
    layout = card.layout
    block = layout.block
    half = layout.width / 2
    group = _group((card.x, card.y), id=block.name)
    group.append(_element("title", _tooltip(block.name, block.parameters, block.macs)))
    group.append(_rectangle(-half, 0, layout.width, layout.height, 12, "card"))
    group.append(_text(-half + 12, 20, block.name.removeprefix("inception_resnet_").replace("_", " "), "small ink"))
    group.append(_text(half - 12, 20, _times(block.shape), "small end"))
    group.extend(_arrow(arrow) for arrow in layout.arrows)
    factorised = _factorised_names([placed.node for placed in layout.nodes])
    group.extend(_node(placed, placed.node.name in factorised) for placed in layout.nodes)
    return group


def _factorised_names(nodes: Sequence[Node]) -> set[str]:
    """Names of the 1 x n and n x 1 convolutions."""
    return {node.name for node in nodes if node.kind is Kind.CONVOLUTION and len(set(node.kernel)) > 1}


def _node(placed: PlacedNode, is_factorised: bool) -> Element:
    node = placed.node
    group = _group((placed.x, placed.y), id=node.name)
    group.append(_element("title", _tooltip(node.name, node.parameters, node.macs, _sentence(node))))
    if node.kind is Kind.SUM:
        group.extend(_sum_and_relu())
        return group
    has_weights = node.kind in (Kind.CONVOLUTION, Kind.DENSE)
    classes = f"box {'unit' if has_weights else 'neutral'}{' factorised' if is_factorised else ''}"
    radius = 5 if has_weights else placed.height / 2
    group.append(_rectangle(-placed.width / 2, 0, placed.width, placed.height, radius, classes))
    if node.kind is Kind.CONCATENATION:
        group.append(_text(0, 14, f"concat  {_times(node.shape)}", "shape"))
    else:
        group.append(_text(0, 18, _label(node), "kernel"))
        group.append(_text(0, 33, _times(node.shape) + (" softmax" if node.kind is Kind.DENSE else ""), "shape"))
    return group


def _sum_and_relu() -> list[Element]:
    return [
        _element("circle", cx=0, cy=12, r=12, class_name="box neutral"),
        _element("path", d="M-6 12H6M0 6V18", stroke="#0f172a", stroke_width=2),
        _element("path", d="M0 24V30", stroke="#64748b", stroke_width=1.4),
        _rectangle(-26, 30, 52, 20, 10, "box neutral"),
        _text(0, 44, "ReLU", "shape"),
    ]


def _label(node: Node) -> str:
    """First line of a box: `3×3 · 384 /2 V` is 384 filters, stride 2, no padding."""
    marks = ("/2" if node.strides == 2 else "") + (" V" if node.padding == "valid" else "")
    match node.kind:
        case Kind.CONVOLUTION:
            return f"{_times(node.kernel)} · {node.shape[-1]} {marks}".rstrip()
        case Kind.MAX_POOL:
            return f"max {_times(node.kernel)} {marks}"
        case Kind.AVERAGE_POOL:
            return "avg pool"
        case _:
            return node.kind.value


def _sentence(node: Node) -> str:
    """What a node does, in full, for its tooltip."""
    if node.kind is Kind.CONVOLUTION:
        return (
            f"convolution {_times(node.kernel)}, {node.shape[-1]} filters, stride {node.strides}, "
            f"padding {node.padding}; batch-normalization; ReLU"
        )
    if node.kind is Kind.SUM:
        return "residual sum; ReLU"
    return node.kind.value


def _tooltip(name: str, parameters: int, macs: int, sentence: str = "") -> str:
    lines = [name, sentence, f"{parameters:,} parameters" if parameters else "", f"{macs:,} MACs" if macs else ""]
    return "\n".join(line for line in lines if line)


def _times(sizes: Sequence[int]) -> str:
    return format_shape(sizes).replace("x", "×")


def _spine(picture: Picture) -> list[Element]:
    return [_element("path", d=_path(arrow.corners, 2 * CORNER), class_name="spine") for arrow in picture.spine]


def _arrow(arrow: Arrow) -> Element:
    return _element(
        "path", d=_path(arrow.corners, CORNER), class_name="arrow residual" if arrow.is_residual else "arrow"
    )


def _path(corners: Sequence[Point], radius: float) -> str:
    """SVG path through the corners of a line of level and upright pieces, its bends rounded."""
    points = [point for i, point in enumerate(corners) if i == 0 or point != corners[i - 1]]
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        bend = min(radius, _distance(before, corner) / 2, _distance(corner, after) / 2)
        start, end = _towards(corner, before, bend), _towards(corner, after, bend)
        parts.append(f"L{start[0]:g} {start[1]:g}Q{corner[0]:g} {corner[1]:g} {end[0]:g} {end[1]:g}")
    parts.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
    return "".join(parts)


def _distance(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(start: Point, end: Point, length: float) -> Point:
    """The point `length` from `start` on the level or upright line to `end`."""
    share = length / (_distance(start, end) or 1)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _legend(described: Sequence[Stage], width: float) -> tuple[Element, float]:
    """What the colours and marks mean, with the share of each stage as bars; and its height."""
    legend = _element("g", id="legend")
    room = width - 2 * PANEL_PADDING
    row_height = 104
    marks_top = 96 + row_height * len(described)
    height = marks_top + 490
    legend.append(_rectangle(0, 0, width, height, 18, "frame"))
    legend.append(_large_text(PANEL_PADDING, 62, "Where the work is", 36, room))
    saved = sum(stage.saved_by_factorisation for stage in described)
    most_parameters = max(stage.parameters for stage in described)
    most_macs = max(stage.macs for stage in described)
    for row, stage in enumerate(described):
        shares = (stage.parameters / most_parameters, stage.macs / most_macs)
        legend.append(_legend_row(stage, shares, room, (PANEL_PADDING, 90 + row_height * row)))
    legend.append(_large_text(PANEL_PADDING, marks_top + 46, "How to read it", 36, room))
    legend.append(_group((PANEL_PADDING, marks_top + 76), *_marks(saved)))
    return legend, height


def _legend_row(stage: Stage, shares: tuple[float, float], room: float, origin: Point) -> Element:
    """Name of a stage and two bars: parameters, and work."""
    row = _group(origin, class_name=stage.key)
    row.append(_large_text(0, 22, stage.name.replace(" x ", " × "), 25, room, "ink"))
    longest = room - 180
    values = (f"{stage.parameters:,} parameters", f"{format_macs(stage.macs)} MACs")
    for line, (share, value) in enumerate(zip(shares, values, strict=True)):
        bar = max(2.0, share * longest)
        y = 33 + 22 * line
        row.append(_rectangle(0, y, bar, 18, 3, "unit box"))
        row.append(_text(bar + 9, y + 14, value, "note"))
    return row


def _marks(saved: int) -> list[Element]:
    """One of each kind of box, and what it stands for."""
    middle = NODE_WIDTH / 2
    units = _element("g", class_name="stem")
    for y, kernel, shape, classes in (
        (0, "3×3 · 96 /2 V", "73×73×96", "box unit"),
        (84, "1×7 · 64", "73×73×64", "box unit factorised"),
    ):
        units.append(_rectangle(0, y, NODE_WIDTH, 42, 5, classes))
        units.append(_text(middle, y + 18, kernel, "kernel"))
        units.append(_text(middle, y + 33, shape, "shape"))
    pool = _rectangle(0, 154, NODE_WIDTH, 42, 21, "box neutral")
    concat = _rectangle(0, 228, NODE_WIDTH, 20, 10, "box neutral")
    residual = _group((middle, 284), *_sum_and_relu())
    residual.append(_arrow(Arrow(((50, -16), (50, 12), (12, 12)), is_residual=True)))
    spine = _element("path", d=f"M{middle:g} 352V394", class_name="spine")
    explanations = [
        (10, "convolution, batch-norm, ReLU:"),
        (28, "kernel height × width · filters,"),
        (46, "/2 stride 2, V no padding; output"),
        (100, "half of a factorised 7×7: the pairs"),
        (118, f"save {saved:,} parameters"),
        (180, "no weights: pooling, dropout"),
        (243, "branches joined along channels"),
        (294, "sum with the block's own input,"),
        (312, "which comes along the bold line"),
        (378, "from block to block"),
    ]
    texts = [_text(NODE_WIDTH + 24, y, words, "note") for y, words in explanations]
    return [units, pool, concat, residual, spine, *texts]
