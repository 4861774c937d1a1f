"""How a network is fed whose file may say it itself: what its front does, what the user says, and both as one card.

pixel -> (pixel - mean) / std, as the user says -> scale * x + shift, as the front does -> the rest of the network
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.errors import PreprocessingUnknownError, SourceError
from convert.images.conventions import CONVENTIONS, PIXELS, input_spec, says_geometry, unknown_preprocessing
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.geometry import KERAS, PAD, STRETCH

SCALED = "scaled"
EXACT_DIGITS = 10
"""Digits to which composed constants are rounded: float32 has seven, and 127.49999999999999 is nobody's mean."""


@dataclass(frozen=True)
class Feed:
    """What a front takes, told by the mean and std that it means: both within bounds."""

    takes: str
    mean: tuple[float, float]
    std: tuple[float, float]


FEEDS = (
    Feed(PIXELS, (-64, 320), (6, 600)),
    Feed(PIXELS, (20, 235), (0.5, 6)),
    Feed(SCALED, (-1.5, 1.5), (1 / 300, 3)),
)
"""The first that fits all channels counts. Rescaling(1/127.5, -1) means 127.5 and 127.5; caffe's means lie far from 0
with a std of 1; a Normalization that was adapted to pixels / 255 means about 0.5 and 0.25."""


@dataclass(frozen=True)
class FrontResize:
    """How a front resizes images of any size, in the terms of an `InputSpec`, as Keras cuts and pads.

    Attributes:
        resize, fit: see `InputSpec`.
        fill: what it pads with, for each channel of the image, in the values that the front takes.
    """

    resize: str
    fit: str = STRETCH
    fill: tuple[float, ...] = ()

    def applied(self, spec: InputSpec) -> InputSpec:
        """Return a specification that resizes as the front does; what it pads with is rounded to a whole pixel."""
        color = (0,)
        if self.fit == PAD:
            values = _f64(self.fill) * spec.std + spec.mean
            values = values[::-1] if spec.channel_order == "BGR" else values  # the card's is of R, G and B
            color = tuple(round(value) for value in values.clip(0, 255).tolist())
        made = replace(spec, resize=self.resize, fit=self.fit, fit_as=KERAS, crop_fraction=1.0, pad_color=color)
        return made if made.is_antialiased else replace(made, decode="full")


@dataclass(frozen=True)
class Scaling:
    """What a network's front does to the values that it takes.

    Attributes:
        source, scale, shift: of each channel behind it: scale * x[source] + shift.
        resize: how it resizes images of any size; None if it does not.
        layers: its layers, to name them to the user.
    """

    source: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    resize: FrontResize | None = None
    layers: tuple[str, ...] = ()

    @property
    def is_silent(self) -> bool:
        """Return whether it leaves values as they are."""
        return set(self.scale) == {1.0} and set(self.shift) == {0.0}

    @property
    def takes(self) -> str | None:
        """Return "none" if it takes pixels, "scaled" if it takes values near 1, None if that cannot be told."""
        mean, std = _mean(self), np.asarray(1 / _f64(self.scale))
        for feed in FEEDS:
            if all(_within(values, bounds) for values, bounds in ((mean, feed.mean), (std, feed.std))):
                return feed.takes
        return None

    def undone(self, images: Array) -> Array:
        """Return what the front was given, float32, where it made `images` (N, height, width, channels) of it."""
        before = (_f64(images) - self.shift) / self.scale
        order = [self.source.index(channel) for channel in range(len(self.source))]
        return np.asarray(before[..., order], np.float32)

    @classmethod
    def between(cls, given: InputSpec, made: InputSpec) -> Scaling:
        """Return the front that makes images as `made` describes of those that `given` does."""
        order = range(given.channels)
        source = tuple(order if given.channel_order == made.channel_order else reversed(order))
        mean, std = (_f64(values)[list(source)] for values in (given.mean, given.std))
        return cls(source, tuple((std / made.std).tolist()), tuple(((mean - made.mean) / made.std).tolist()))

    def behind(self, given: InputSpec) -> InputSpec:
        """Return the specification of what the front makes of images that are prepared as `given` says."""
        order = list(range(len(self.source)))
        taken = order[::-1] if given.channel_order == "BGR" else order
        channels = [taken[i] for i in self.source]  # of RGB, for each channel behind the front
        before_mean, before_std = (_f64(values)[list(self.source)] for values in (given.mean, given.std))
        resized = given if self.resize is None else self.resize.applied(given)
        return replace(
            resized,
            mean=_rounded(before_mean + _mean(self) * before_std, before_std / self.scale),
            std=_rounded(before_std / self.scale),
            channel_order="BGR" if channels == order[::-1] and len(order) > 1 else "RGB",
        )


def feeding(scaling: Scaling, preprocessing: str | None, file: Path | None, size: Sequence[int]) -> InputSpec:
    """Return how images are prepared for what is behind a front.

    Args:
        scaling: of the front; silent where the file says nothing.
        preprocessing: convention or file, or None where the user says nothing.
        file: the network's.
        size: height, width and channels of its images.

    Raises:
        SourceError: file and user say nothing, or contradict each other.
    """
    given = None if preprocessing is None else input_spec(preprocessing, *size)
    if preprocessing is not None and says_geometry(preprocessing):
        scaling = replace(scaling, resize=None)
    if not scaling.is_silent and scaling.takes == PIXELS:
        return _on_pixels(scaling, preprocessing, given, file, size)
    if given is not None:
        return scaling.behind(given)
    if scaling.is_silent:
        raise unknown_preprocessing(file)
    raise PreprocessingUnknownError(
        f"{file} takes values that are scaled already ({_named(scaling)}), and does not say how: pass --preprocessing, "
        f"or write it into irv2.toml: unit if pixels were divided by 255 in training, else {'|'.join(CONVENTIONS)} or "
        "a JSON file"
    )


def _on_pixels(
    scaling: Scaling, preprocessing: str | None, given: InputSpec | None, file: Path | None, size: Sequence[int]
) -> InputSpec:
    """Return the specification of a front that takes pixels; what the user says must agree."""
    plain = input_spec(PIXELS, *size)
    if given is None:
        return scaling.behind(plain)
    if _scales_alike(given, plain):
        return scaling.behind(given)
    alone = scaling.behind(replace(given, mean=plain.mean, std=plain.std, channel_order=plain.channel_order))
    if preprocessing not in CONVENTIONS and _scales_alike(given, alone):
        return alone
    raise SourceError(
        f"{file} scales its pixels itself ({_named(scaling)}), and --preprocessing {preprocessing} would scale "
        "them again, or says something else: leave it out"
    )


def _named(scaling: Scaling) -> str:
    return ", ".join(scaling.layers)


def _scales_alike(one: InputSpec, other: InputSpec) -> bool:
    ours, theirs = (_f64([*each.mean, *each.std]) for each in (one, other))
    return one.channel_order == other.channel_order and bool(np.allclose(ours, theirs, rtol=1e-5, atol=1e-5))


def _mean(scaling: Scaling) -> Array:
    """Return the value that becomes 0."""
    return np.asarray(-_f64(scaling.shift) / _f64(scaling.scale))


def _within(values: Array, bounds: tuple[float, float]) -> bool:
    return bool(np.all((bounds[0] <= values) & (values <= bounds[1])))


def _rounded(
    values: Array,
    unit: Array | None = None,
) -> tuple[float, ...]:
    """Round to `EXACT_DIGITS`; what is less than that of `unit` is rounding itself, and 0."""
    least = np.zeros_like(values) if unit is None else np.abs(unit) * 10.0**-EXACT_DIGITS
    return tuple(
        0.0 if abs(value) < limit else float(f"{value:.{EXACT_DIGITS}g}")
        for value, limit in zip(values.tolist(), least.tolist(), strict=True)
    )


def _f64(values: object) -> Array:
    return np.asarray(values, np.float64)
