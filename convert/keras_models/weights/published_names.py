"""The units of keras.applications' InceptionResNetV2 under the names that TF-Slim and timm gave them.

Keras' network was ported from TF-Slim's, and timm's too: the same convolutions, made in the same order. What each calls
them is known from the variables of `inception_resnet_v2_2016_08_30.ckpt` and from timm's state dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Place(NamedTuple):
    """A convolution: its name in a port, and whether a batch-normalization follows it or it has a bias instead."""

    name: str
    is_normalized: bool


Branches = tuple[tuple[str, ...], ...]
"""The convolutions of each branch that runs beside others, as TF-Slim names them."""

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
MIXED_5B: Branches = (
    ("Conv2d_1x1",),
    ("Conv2d_0a_1x1", "Conv2d_0b_5x5"),
    ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"),
    ("Conv2d_0b_1x1",),
)
BLOCK35: Branches = (
    ("Conv2d_1x1",),
    ("Conv2d_0a_1x1", "Conv2d_0b_3x3"),
    ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"),
)
MIXED_6A: Branches = (("Conv2d_1a_3x3",), ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3"))
BLOCK17: Branches = (("Conv2d_1x1",), ("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1"))
MIXED_7A: Branches = (
    ("Conv2d_0a_1x1", "Conv2d_1a_3x3"),
    ("Conv2d_0a_1x1", "Conv2d_1a_3x3"),
    ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3"),
)
BLOCK8: Branches = (("Conv2d_1x1",), ("Conv2d_0a_1x1", "Conv2d_0b_1x3", "Conv2d_0c_3x1"))
LAST = "Conv2d_7b_1x1"


class Part(NamedTuple):
    """A stretch of the network: its name in TF-Slim and in timm, its branches, and whether it is a residual block."""

    slim: str
    timm: str
    branches: Branches
    is_residual: bool


def _parts() -> Iterator[Part]:
    """Yield the parts between the stem and the last convolution."""
    yield Part("Mixed_5b", "mixed_5b", MIXED_5B, False)
    yield from (Part(f"Repeat/block35_{i + 1}", f"repeat.{i}", BLOCK35, True) for i in range(10))
    yield Part("Mixed_6a", "mixed_6a", MIXED_6A, False)
    yield from (Part(f"Repeat_1/block17_{i + 1}", f"repeat_1.{i}", BLOCK17, True) for i in range(20))
    yield Part("Mixed_7a", "mixed_7a", MIXED_7A, False)
    yield from (Part(f"Repeat_2/block8_{i + 1}", f"repeat_2.{i}", BLOCK8, True) for i in range(9))
    yield Part("Block8", "block8", BLOCK8, True)


def slim_places() -> Iterator[Place]:
    """Yield all convolutions by their scope in TF-Slim, in the order in which Keras makes them."""
    yield from (Place(name, True) for name in STEM)
    for part in _parts():
        for number, branch in enumerate(part.branches):
            yield from (Place(f"{part.slim}/Branch_{number}/{name}", True) for name in branch)
        if part.is_residual:
            yield Place(f"{part.slim}/Conv2d_1x1", False)
    yield Place(LAST, True)


def timm_places() -> Iterator[Place]:
    """Yield all convolutions by their module in timm, in the order in which Keras makes them."""
    yield from (Place(_timm_name(name), True) for name in STEM)
    for part in _parts():
        for number, branch in enumerate(part.branches):
            yield from (Place(name, True) for name in _timm_branch(part, number, branch))
        if part.is_residual:
            yield Place(f"{part.timm}.conv2d", False)
    yield Place(_timm_name(LAST), True)


def _timm_name(slim: str) -> str:
    """Return timm's name for a convolution outside the blocks: Conv2d_1a_3x3 -> conv2d_1a."""
    return slim.lower().rpartition("_")[0]


def _timm_branch(part: Part, number: int, branch: tuple[str, ...]) -> Iterator[str]:
    """Yield timm's names for the convolutions of a branch: numbers, unless the branch consists of one alone."""
    before = f"{part.timm}.branch{number}"
    has_pool = part.slim == "Mixed_5b" and number == 3  # an average pool is number 0 of this branch
    if len(branch) == 1 and not has_pool:
        yield before
    else:
        yield from (f"{before}.{i}" for i in range(has_pool, has_pool + len(branch)))
