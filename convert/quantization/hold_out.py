"""Calibration images that are held out, to judge alternatives by."""

from __future__ import annotations

from convert.errors import ImageSetError
from convert.images.dataset import ImageSet

HELD_OUT = 0.2
"""Fraction of the calibration images that is not calibrated on."""
MOST_HELD_OUT = 50
FEWEST_TO_CHOOSE = 10
"""With fewer calibration images, choosing between alternatives would be guessing."""


def hold_out(images: ImageSet, reason: str) -> tuple[ImageSet, ImageSet]:
    """Part images into those to calibrate on and those held out; `reason` is the option that asks for it.

    Raises:
        ImageSetError: there are too few.
    """
    if len(images) < FEWEST_TO_CHOOSE:
        raise ImageSetError(
            f"{len(images)} calibration images of {images.root} are too few for {reason}, which holds some out: "
            f"give at least {FEWEST_TO_CHOOSE}"
        )
    seen = len(images) - min(int(len(images) * HELD_OUT), MOST_HELD_OUT)
    return images[:seen], images[seen:]
