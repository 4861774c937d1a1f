"""Every way in which a delegate of our own, in C, goes wrong; on every interpreter that is installed."""

from __future__ import annotations

import pytest

from edge_runtime.probe import probe_pixels
from tests.edge_runtime.plugins import INSTALLED
from tests.edge_runtime.tiny_model import SIZE, expected_probabilities

EXPECTED = expected_probabilities(probe_pixels(SIZE, SIZE))
REFUSALS = {
    "refuses": r"libplugin\.so refuses: this device is reserved$",
    "null": r"libplugin\.so refuses: it gives no reason$",
    "unheard-of": r"libplugin\.so refuses: unknown behaviour$",
    "fails-in-prepare": r" refuses the model: the driver is too old",
    "fails-in-kernel-prepare": r" refuses the model: no memory left on the accelerator",
    "fails-in-invoke": r" failed: the accelerator was unplugged",
    "answers-wrongly": r"its probabilities differ from the CPU's by 0\.\d+ on the probe, more than 0\.0\d+$",
    "answers-nan": r"its probabilities differ from the CPU's by nan on the probe, more than 0\.0\d+$",
    "claims-none": r"it takes none of the model's 3 operations$",
}
"""Behaviour of the plugin -> the reason for which it is not used."""

every_engine = pytest.mark.parametrize("engine", INSTALLED)
every_refusal = pytest.mark.parametrize("behaviour", REFUSALS)
