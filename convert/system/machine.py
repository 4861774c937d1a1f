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
    try:
        first = cpuinfo.read_text(errors="replace").split("\n\n", maxsplit=1)[0]
    except OSError:  # no such system
        return f"{platform.machine()} {platform.processor()}".strip()
    lines = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = next((lines[key] for key in MODEL_LINES if key in lines), "unknown")
    features = sorted(
        feature for key in FEATURE_LINES for feature in lines.get(key, "").split() if feature.startswith(ARITHMETIC)
    )
    return f"{platform.machine()} {name}, features {hashlib.sha256(' '.join(features).encode()).hexdigest()[:8]}"


def environment() -> dict[str, Any]:
    """Return the machine that measured and the versions it measured with, as in a report."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
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
