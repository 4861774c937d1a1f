"""What a tensor in front of a network holds: y[c] = scale[c] * x[source[c]] + shift[c], where x is the image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convert.images.feeding import FrontResize
from edge_runtime.arrays import Array


@dataclass(frozen=True)
class ImageMap:
    """What a tensor in front of a network holds: an affine map of the image, channel by channel.

    Attributes:
        source, scale, shift: of each channel of the tensor.
        moves: layers, in order, that moved pixels and change their number.
        folded: lines about the layers on the way that the map replaces; inactive: names of those that do nothing.
        resize: what a `Resizing` that found the image at its size already would do to others.
    """

    source: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    moves: tuple[Any, ...] = ()
    folded: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    resize: FrontResize | None = None

    @classmethod
    def of_image(cls, channels: int) -> ImageMap:
        """Return the map of the image itself."""
        return cls(tuple(range(channels)), (1.0,) * channels, (0.0,) * channels)

    @property
    def channels(self) -> int:
        """Return the number of channels of the tensor."""
        return len(self.source)

    @property
    def scales(self) -> bool:
        """Return whether it changes values."""
        return set(self.scale) != {1.0} or set(self.shift) != {0.0}

    def picked(self, indices: Iterable[int]) -> ImageMap:
        """Return the map of a tensor that holds these channels of this one."""
        chosen = list(indices)
        return replace(
            self,
            source=tuple(self.source[i] for i in chosen),
            scale=tuple(self.scale[i] for i in chosen),
            shift=tuple(self.shift[i] for i in chosen),
        )

    def scaled(self, factor: Array, offset: Array, line: str) -> ImageMap:
        """Return the map of factor * y + offset, of one value each or one for each channel."""
        channels = max(self.channels, factor.size, offset.size)
        wide = self.picked([0] * channels) if self.channels == 1 else self
        scale, shift = (np.broadcast_to(np.array(v), channels) for v in (wide.scale, wide.shift))
        factor, offset = (np.broadcast_to(v.reshape(-1), channels) for v in (factor, offset))
        return replace(
            wide,
            scale=tuple((scale * factor).tolist()),
            shift=tuple((shift * factor + offset).tolist()),
            folded=(*self.folded, line),
        )

    def before(self, value: float, channels: int) -> tuple[float, ...] | None:
        """Return what the image's channels are where all of this tensor's are `value`; None if they are nothing."""
        found = [
            {(value - self.shift[i]) / self.scale[i] for i in range(self.channels) if self.source[i] == channel}
            for channel in range(channels)
        ]
        return tuple(each.pop() for each in found) if all(len(each) == 1 for each in found) else None

    def fits_a_card(self, image_channels: int) -> bool:
        """Return whether mean, std and channel order can say it, of an image with so many channels."""
        if min(self.scale) <= 0 or not np.all(np.isfinite([*self.scale, *self.shift])):
            return False
        if image_channels == 1:  # repeated, perhaps
            return len(set(self.scale)) == len(set(self.shift)) == 1
        return self.source in (tuple(range(image_channels)), tuple(reversed(range(image_channels))))
