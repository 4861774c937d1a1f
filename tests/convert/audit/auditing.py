"""The report of `irv2-inspect` on a model, as users get it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import numpy as np

from convert.cli.inspect import inspect as command

IMAGES = list(np.random.default_rng(0).integers(0, 256, (6, 16, 20, 3), np.uint8))


def audit(model: bytes, folder: Path, *options: str) -> dict[str, Any]:
    """Return the machine-readable report."""
    path = folder / "model.tflite"
    path.write_bytes(model)
    result = click.testing.CliRunner().invoke(command, [str(path), "--json", *options])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def found(report: dict[str, Any]) -> dict[str, str]:
    """Map checks to severities of all findings, except for notes on requantizations, which sound models have too."""
    return {entry["check"]: entry["severity"] for entry in report["findings"] if entry["check"] != "requantization"}
