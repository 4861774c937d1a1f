"""The whole network as one SVG picture: every convolution unit a box, every block drawn, readable at any zoom.

It is self-contained, and shows the name, parameters and multiply-accumulates of what the pointer is on.
`templates/network.svg.j2` says what it looks like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jinja2
import keras

from convert.picture import layout
from convert.picture.graph import Node, read_blocks
from convert.picture.stages import format_macs, stages, totals


def network_svg(model: keras.Model) -> str:
    """Draw a model made by `inception_resnet_v2`; return the text of an .svg file."""
    blocks, described = read_blocks(model), stages(model)
    return _template().render(
        image=blocks[0].nodes[0].shape,
        picture=layout.lay_out(blocks),
        stages={stage.key: stage for stage in described},
        total=totals(described),
        layout=layout,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convert.picture"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "g": "{:g}".format,
        "count": "{:,}".format,
        "shape": _shape,
        "times": lambda name: name.replace(" x ", " × "),
        "macs": format_macs,
    }
    environment.globals |= {"path": _path, "label": _label, "sentence": _sentence, "tooltip": _tooltip}
    return environment.get_template("network.svg.j2")


def _shape(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _label(node: Node) -> str:
    """Return the first line of a box: `3×3 · 384 /2 V` is 384 filters, stride 2, no padding."""
    if node.kind == "average pool":
        return "avg pool"
    if node.kind not in ("convolution", "max pool"):
        return node.kind
    marks = ("/2" if node.layer.strides[0] == 2 else "") + (" V" if node.layer.padding == "valid" else "")
    kernel = _shape(node.kernel)
    return f"max {kernel} {marks}" if node.kind == "max pool" else f"{kernel} · {node.shape[-1]} {marks}".rstrip()


def _sentence(node: Node) -> str:
    """Return what a node does, in full, for its tooltip."""
    if node.kind == "convolution":
        layer = node.layer
        return (
            f"convolution {_shape(node.kernel)}, {node.shape[-1]} filters, stride {layer.strides[0]}, "
            f"padding {layer.padding}; batch-normalization; ReLU"
        )
    return "residual sum; ReLU" if node.kind == "sum" else node.kind


def _tooltip(name: str, nodes: Sequence[Node], sentence: str = "") -> str:
    parameters, macs = sum(node.parameters for node in nodes), sum(node.macs for node in nodes)
    lines = [name, sentence, f"{parameters:,} parameters" if parameters else "", f"{macs:,} MACs" if macs else ""]
    return "\n".join(line for line in lines if line)


def _path(corners: Sequence[tuple[float, float]], radius: float) -> str:
    """Return the SVG path through the corners of a line of level and upright pieces, its bends rounded."""
    points = [point for i, point in enumerate(corners) if i == 0 or point != corners[i - 1]]
    parts = ["M{:g} {:g}".format(*points[0])]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        bend = min(radius, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        start, end = _towards(corner, before, bend), _towards(corner, after, bend)
        parts.append("L{:g} {:g}Q{:g} {:g} {:g} {:g}".format(*start, *corner, *end))
    return "".join([*parts, "L{:g} {:g}".format(*points[-1])])


def _towards(start: tuple[float, float], end: tuple[float, float], length: float) -> tuple[float, float]:
    """Return the point `length` from `start` on the line to `end`."""
    share = length / math.dist(start, end)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
