"""NPUs through LiteRT: each vendor has a plugin that compiles a model and one that dispatches to the hardware.

Both are part of LiteRT's wheels, for some vendors and platforms; what they call, the vendor's own runtime, is not.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime.errors import DelegateError

PACKAGE = "ai_edge_litert"
VENDOR, DEVICE = "vendor", "device"
"""Options: whose plugins; and, of the one vendor that computes on other hardware too, on which."""

OPENVINO = "intel_openvino"
OPENVINO_DEVICES = ("NPU", "GPU", "CPU")


def vendors() -> list[str]:
    """Return the vendors for which the installed LiteRT has a plugin."""
    return sorted(folder.name for folder in _folder().glob("*/") if any(folder.glob("*/*.so")))


def check_options(options: Mapping[str, str]) -> None:
    """Raise `DelegateError` for an option that is none, or a value that it cannot have."""
    for name, value in options.items():
        if name not in (VENDOR, DEVICE):
            raise DelegateError(f"npu has no option {name!r}: choose {VENDOR} or {DEVICE}")
        if name == VENDOR and value not in vendors():
            raise DelegateError(f"LiteRT has no plugin here for {value!r}: choose {', '.join(vendors()) or 'none'}")
        if name == DEVICE and (options.get(VENDOR) != OPENVINO or value not in OPENVINO_DEVICES):
            choices = f"{', '.join(OPENVINO_DEVICES)}, with {VENDOR}={OPENVINO}"
            raise DelegateError(f"npu cannot compute on {DEVICE}={value}: choose {choices}")


def environment_of(options: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of LiteRT's `Environment.create`; it finds a vendor by itself if none is said."""
    if VENDOR not in options:
        return {}
    folder = _folder() / options[VENDOR]
    return {f"{kind}_path": os.fspath(folder / kind.split("_")[0]) for kind in ("compiler_plugin", "dispatch_library")}


def model_options(accelerator: Any, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of LiteRT's `CompiledModel.from_file` that say what is to compute."""
    if DEVICE not in options:
        return {"hardware_accel": accelerator}
    theirs = importlib.import_module(f"{PACKAGE}.options")
    backend = theirs.IntelOpenVinoGraphBackend[options[DEVICE]]
    openvino = theirs.IntelOpenVinoOptions(graph_backend=backend)
    return {"options": theirs.Options(hardware_accelerators=accelerator, intel_openvino_options=openvino)}


def _folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    places = [] if spec is None else spec.submodule_search_locations or []
    return Path(next(iter(places), "")) / "vendors"
