"""What a machine decides about the last bits of a result: its processor, and how many threads share the work."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
MODEL_LINES, FEATURE_LINES = ("model name", "CPU part"), ("flags", "Features")
VERSIONED = ("irv2-edge", "ai-edge-litert", "litert-quantizer", "tensorflow", "tensorflow-cpu", "numpy", "pillow")
ARITHMETIC = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi", "asimd", "sve", "sme", "i8mm", "bf16", "fphp")
"""How the names of those features of a processor begin that kernels are chosen by; others come with new kernels."""


def machine() -> dict[str, Any]:
    """What decides about the last bits of a sum: type of the processor, and how many threads share the work."""
    return {"processor": processor(), "threads": os.cpu_count(), "usable_cores": len(os.sched_getaffinity(0))}


def processor(cpuinfo: Path = CPUINFO) -> str:
    """Architecture and name of the first processor, and a short hash of its arithmetic features; see proc(5)."""
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
    """The machine that measured, and the versions of what it measured with."""
    distributions = {each.name.lower(): each.version for each in metadata.distributions() if each.name}
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: distributions[name] for name in VERSIONED if name in distributions},
    }
