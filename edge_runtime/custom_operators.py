"""Parts of a network that a vendor's compiler made into one custom operator, which its hardware alone computes."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime._graph_check import MODEL_CODES, Reader
from edge_runtime._mmap import ModelFile, content_of

CODE_CUSTOM = 1


@dataclass(frozen=True)
class Hardware:
    """What computes a compiled part, with its article, and what to do to have it computed."""

    name: str
    advice: str


BY_PATH = "pass --delegate with the path of its plugin library"
COMPILED = {
    "edgetpu-custom-op": Hardware("an Edge TPU", "pass --delegate edgetpu"),
    "ethos-u": Hardware("an Arm Ethos-U", BY_PATH),
    "NeutronGraph": Hardware("an NXP Neutron NPU", BY_PATH),
    "DISPATCH_OP": Hardware("the NPU that LiteRT compiled it for", "pass the file that it was compiled from"),
}
"""Name of the custom operator -> its hardware."""


def compiled_operator(model: ModelFile) -> str | None:
    """Return the name in `COMPILED` of a model's custom operator; None if it has none, or cannot be read."""
    try:
        with content_of(model) as content:
            reader = Reader(content)
            customs = {reader.text(code, CODE_CUSTOM).decode() for code in reader.tables(reader.root, MODEL_CODES)}
    except (OSError, IndexError, ValueError):  # whoever loads it says so
        return None
    return next((name for name in COMPILED if name in customs), None)


def needs_hardware(operator: str) -> str:
    """Word what a model with a compiled operator needs."""
    hardware = COMPILED[operator]
    return f"is compiled for {hardware.name} ({operator}), the CPU cannot compute it: {hardware.advice}"
