"""What a device answers to the images, and what the report says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.devices.device import Device
from convert.devices.fleet import Tell
from convert.devices.ssh import DeviceError
from convert.devices.state import is_throttled
from convert.drift.odd_devices import Answers
from convert.images.dataset import ImageSet


@dataclass(frozen=True)
class Answered:
    """What a device answered: `timed` has what the agent said of each readable image, `skipped` of the others."""

    device: Device
    answers: Answers
    timed: list[dict[str, Any]]
    skipped: tuple[str, ...]


def answers_of(device: Device, model: dict[str, Any], images: ImageSet, hashes: Sequence[str], tell: Tell) -> Answered:
    """Let a device answer images, given by their hashes, too; `model` is as for `Device.answers`.

    `tell` is called for each. A device that fails, or answers with NaN, is a `DeviceError`.
    """
    answers, timed, skipped = Answers(), list[dict[str, Any]](), []
    for path, answer in zip(images.paths, device.answers(model, hashes), strict=True):
        tell()
        if "unreadable" in answer:
            skipped.append(f"{path}: {answer['unreadable']}")
            continue
        row = np.array(answer["probabilities"], np.float32)
        if not np.isfinite(row).all():
            raise DeviceError(f"{device.name} answers {path} with NaN or infinity: run irv2-predict there")
        answers[path] = answer["pixels_sha256"], row
        timed.append(answer)
    return Answered(device, answers, timed, tuple(skipped))


def facts(found: Answered) -> dict[str, Any]:
    """Return what ran, how fast, and in which state the device was before and after."""
    device = found.device
    opened, after = device.opened, dict(device.ended)
    receipt = after.pop("receipt")
    times = [answer["prepare_ms"] + answer["ms"] for answer in found.timed]
    percentiles = np.percentile(times[1:] or times, (50, 95, 99), method="higher")
    return {
        "address": device.name,
        "machine": opened["machine"],
        "python": opened["python"],
        "receipt": receipt,
        "latency_ms": dict(zip(("p50", "p95", "p99"), map(float, percentiles), strict=True)) | {"first": times[0]},
        "startup_ms": {"engine": opened["import_ms"], "model": opened["load_ms"]},
        "before": opened["state"],
        "after": after,
        "throttled": is_throttled(opened["state"], after),
        "connections": device.connections,
    }


def differences(paths: tuple[Path, ...], here: Answers, there: Answers, root: Path) -> dict[str, Any]:
    """Return how many images have other pixels and other answers there than here, and the largest difference."""
    off = {path: float(np.abs(here[path][1] - there[path][1]).max()) for path in paths}
    worst = max(off, key=lambda path: off[path])
    return {
        "images": len(paths),
        "pixels_different": sum(here[path][0] != there[path][0] for path in paths),
        "answers_different": sum(not np.array_equal(here[path][1], there[path][1]) for path in paths),
        "largest_difference": off[worst],
        "largest_in": worst.relative_to(root).as_posix() if off[worst] else None,
    }
