"""The machine and the installed packages: what affects the low-order bits of results, and what reports mention."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
MODEL_LINES, FEATURE_LINES = ("model name", "CPU part"), ("flags", "Features")
ARITHMETIC = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi", "asimd", "sve", "sme", "i8mm", "bf16", "fphp")
"""Prefixes of the processor features by which libraries choose their kernels; other features come with new kernels."""

DOT_PRODUCT = {"avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"}
"""Processor features with which int8 products are summed in one step, as proc(5) names them on x86 and Arm."""

IN_CARDS = ("irv2-edge", "litert-quantizer", "ai-edge-litert", "flatbuffers", "numpy", "scipy", "pillow")
"""Packages whose versions a card lists, beside those of the process that lowers."""
IN_REPORTS = ("irv2-edge", "ai-edge-litert", "litert-quantizer", "tensorflow", "tensorflow-cpu", "numpy", "pillow")
COMPUTING = (
    *("tensorflow", "tensorflow-cpu", "keras", "tf-keras", "h5py", "litert-quantizer", "ai-edge-litert"),
    *("flatbuffers", "ml-dtypes", "numpy", "scipy", "pillow"),
)
"""Packages whose code computes some part of an artifact."""


def machine() -> dict[str, Any]:
    """Return processor, thread count and usable cores, which affect the low-order bits of a sum."""
    return {"processor": processor(), "threads": os.cpu_count(), "usable_cores": len(os.sched_getaffinity(0))}


def processor(cpuinfo: Path = CPUINFO) -> str:
    """Return architecture and name of the first processor, and a short hash of its arithmetic features; see proc(5)."""
    lines, found = _first_processor(cpuinfo)
    if not lines:  # no such system
        return f"{platform.machine()} {platform.processor()}".strip()
    name = next((lines[key] for key in MODEL_LINES if key in lines), "unknown")
    features = sorted(feature for feature in found if feature.startswith(ARITHMETIC))
    return f"{platform.machine()} {name}, features {hashlib.sha256(' '.join(features).encode()).hexdigest()[:8]}"


def _first_processor(cpuinfo: Path) -> tuple[dict[str, str], set[str]]:
    """Return the lines about the first processor, by key, and its features; nothing if the system has no such file."""
    try:
        first = cpuinfo.read_text(errors="replace").split("\n\n", maxsplit=1)[0]
    except OSError:
        return {}, set()
    lines = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    return lines, {feature for key in FEATURE_LINES for feature in lines.get(key, "").split()}


def has_int8_dot_product(cpuinfo: Path = CPUINFO) -> bool | None:
    """Return whether the first processor multiplies and adds four int8 in one step; None if the system does not tell.

    XNNPACK's int8 kernels are some four times as fast with it, and hardly faster than its float kernels without.
    """
    features = _first_processor(cpuinfo)[1]
    return bool(features & DOT_PRODUCT) if features else None


def environment() -> dict[str, Any]:
    """Return the machine that measured and the versions it measured with, as in a report."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "int8_dot_product": has_int8_dot_product(),
        "versions": {name: found for name, found in versions(IN_REPORTS).items() if found is not None},
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the version of each package; None if it is not installed."""
    return {name: version(name) for name in packages}


def version(package: str) -> str | None:
    """Return the version of a package without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
