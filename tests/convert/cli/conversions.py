"""A finished conversion, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.tflite.graph import TfliteGraph
from edge_runtime.artifact import open_artifact
from tests.conftest import Finished


@dataclass(frozen=True)
class Conversion:
    """A finished conversion, and where its files are."""

    finished: Finished
    folder: Path

    def artifact(self, scheme: str) -> Path:
        return self.folder / f"colours.{scheme}.tflite"

    def report(self, scheme: str) -> dict[str, Any]:
        text = self.artifact(scheme).with_name(f"colours.{scheme}.tflite.report.json").read_text()
        return dict(json.loads(text))

    def graph(self, scheme: str) -> TfliteGraph:
        artifact = open_artifact(self.artifact(scheme))
        return TfliteGraph(self.artifact(scheme).read_bytes()[: artifact.flatbuffer_bytes])
