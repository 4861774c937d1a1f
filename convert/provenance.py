"""What a card says of its making, so that `irv2-convert verify` can tell what has changed since, and do it again."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convert.building import Recipe
from convert.image_sets import ImageSet, manifest_sha256
from convert.job import Inputs, Job

CPUINFO = Path("/proc/cpuinfo")
MODEL_LINES, FEATURE_LINES = ("model name", "CPU part"), ("flags", "Features")
ARITHMETIC = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi", "asimd", "sve", "sme", "i8mm", "bf16", "fphp")
"""How the names of those features of a processor begin that kernels are chosen by; others come with new kernels."""


def of(job: Job, inputs: Inputs, recipe: Recipe) -> dict[str, Any]:
    """What a card holds as `source.build`; no place, no time, and nothing else that differs from run to run.

    Args:
        job, inputs: what is converted, as `job.check` found it.
        recipe: how.
    """
    source = job.source
    return {
        "classes": source.classes,
        "input_size": source.input_size,
        "io": recipe.io,
        "calibrator": job.calibrator,
        "calibration_size": job.calibration_size,
        "calibration_manifest_sha256": manifest(inputs.calibration, inputs.held_out),
        "validation_size": job.validation_size,
        "validation_manifest_sha256": manifest(inputs.validation),
        "keep_float": job.keep_float,
        "recover": job.recover,
        "limits": asdict(job.limits),
        "machine": machine(),
    }


def manifest(*parts: ImageSet | None) -> str | None:
    """One hash for the images of all parts of a set; None where there are none."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    whole = ImageSet(there[0].root, tuple(path for part in there for path in part.paths), None)
    return manifest_sha256(whole)


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
