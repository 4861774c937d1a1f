"""What a card says of its making, so that `irv2-convert verify` can tell what has changed since, and do it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from convert.building import Recipe
from convert.images.dataset import manifest_sha256
from convert.job import Inputs, Job
from convert.system.machine import machine


def of(job: Job, inputs: Inputs, recipe: Recipe) -> dict[str, Any]:
    """What a card holds as `source.build`; no place, no time, and nothing else that differs from run to run.

    Args:
        job, inputs: what is converted, as `job.check` found it.
        recipe: how.
    """
    source, calibration, validation = job.source, inputs.calibration, inputs.validation
    return {
        "classes": source.classes,
        "input_size": source.input_size,
        "io": recipe.io,
        "calibrator": job.calibrator,
        "calibration_size": job.calibration_size,
        "calibration_manifest_sha256": None if calibration is None else manifest_sha256(calibration, inputs.held_out),
        "validation_size": job.validation_size,
        "validation_manifest_sha256": None if validation is None else manifest_sha256(validation),
        "keep_float": job.keep_float,
        "recover": job.recover,
        "limits": asdict(job.limits),
        "machine": machine(),
    }
