"""Parts of a network that a vendor's compiler made into one custom operator, which its hardware alone computes."""

from __future__ import annotations

from typing import NamedTuple


class Hardware(NamedTuple):
    """What computes a compiled part: its name, with an article, and what `--delegate` takes for it; None if nothing."""

    name: str
    delegate: str | None

    @property
    def advice(self) -> str:
        """Return what to do to have it computed."""
        if self.delegate is None:
            return "pass the file that it was compiled from"
        return f"pass --delegate {self.delegate}{', or its path' if self.delegate.endswith('.so') else ''}"


COMPILED = {
    "edgetpu-custom-op": Hardware("an Edge TPU", "edgetpu"),
    "ethos-u": Hardware("an Arm Ethos-U", "libethosu_delegate.so"),
    "NeutronGraph": Hardware("an NXP Neutron NPU", "libneutron_delegate.so"),
    "vsi-npu": Hardware("a VeriSilicon NPU", "libvx_delegate.so"),
    "DISPATCH_OP": Hardware("an NPU that LiteRT dispatches to", "npu"),
}
"""Name of the custom operator -> its hardware."""
COMPILED_FOR, COMPILED_FROM = "compiled_for", "compiled_from"
"""Keys of a card's `source`: the custom operators, and the hash of the flatbuffer that they were made of."""


def needs_hardware(operator: str, other: str = "the CPU") -> str:
    """Word what a model with a compiled operator needs, where it was to be computed by something else."""
    hardware = COMPILED[operator]
    return f"is compiled for {hardware.name} ({operator}), {other} cannot compute it: {hardware.advice}"
