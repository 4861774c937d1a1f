"""The outcome of a conversion: one artifact and how it was judged; as `<artifact>.report.json`, and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convert.audit.islands import FloatIsland
from convert.drift import attribution
from convert.drift.comparison import Comparison
from convert.drift.figures import Drift
from convert.quantization.bias_range import RaisedScales
from convert.quantization.schemes import Scheme
from convert.statistics.verdict import EXIT_CODES, PASS, Gate, worst
from convert.system.machine import environment
from convert.system.temporary import write_atomically
from edge_runtime.specs import SOFTMAX


@dataclass(frozen=True)
class FallbackRow:
    """A row of the table of float fallbacks: what keeping layers in float costs, and what it gains.

    Attributes:
        layers: number of layers with weights that stay in float.
        milliseconds: median time per image on this machine.
        sqnr_db: SQNR of the logits on held-out calibration images.
        agreement: top-1 agreement with the float network on the validation images.
    """

    layers: int
    bytes: int
    milliseconds: float
    sqnr_db: float
    agreement: float
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """One artifact: its file, and how it was judged.

    Attributes:
        drift, gate: what was measured, and the verdict; None where drift was not measured.
        timings_s: stage -> seconds.
        calibration: calibrator, images and convergence of the ranges; None for schemes that do not calibrate.
        layers: each layer compared with the float network, see `convert.quantization.layer_comparison`.
        float_layers: names of the layers that were kept in float on purpose.
        recovery: the float fallbacks that were tried because int8 did not pass.
        superseded: whether another artifact was made because this one did not pass.
        keras_sqnr_db: SQNR of the float TFLite model against Keras, in dB.
        latency_ms: median time per image on this machine's CPU; None where measuring would take minutes.
        float_latency_ms: the same of the float network, measured in turns with it; None where it was not.
        compared: the predictions behind `drift`, for the page.
        head, classes: what the network ends in, see `convert.lowering.lower.LoweredModel`, and its number of labels.
        cached: stages whose result came from the cache; their seconds are those of reading it.
        float_islands: what is computed in float between integers though nobody asked for it.
        raised: the filters whose scale was raised for their bias.
        source: what was recognized in the network's file, see `LoweredModel.findings`; empty for our own networks.
        preprocessing: how its images are prepared, as its card has it.
        warnings: why the figures may not be what they seem to be.
        passed_before: the artifact that had passed under this one's name; it is there no longer if that is `path`.
    """

    scheme: Scheme
    path: Path
    bytes: int
    sha256: str
    drift: Drift | None
    gate: Gate | None
    timings_s: dict[str, float]
    calibration: dict[str, Any] | None = None
    layers: list[dict[str, Any]] = field(default_factory=list)
    float_layers: tuple[str, ...] = ()
    recovery: list[FallbackRow] = field(default_factory=list)
    superseded: bool = False
    keras_sqnr_db: float | None = None
    latency_ms: float | None = None
    float_latency_ms: float | None = None
    compared: Comparison | None = field(default=None, repr=False)
    cached: tuple[str, ...] = ()
    head: str = SOFTMAX
    classes: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    float_islands: Sequence[FloatIsland] = ()
    raised: RaisedScales = field(default_factory=RaisedScales)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    passed_before: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report of one artifact as JSON values."""
        drift, gate = self.drift, self.gate
        return {
            "scheme": self.scheme.name,
            **({} if self.head == SOFTMAX else {"head": self.head}),
            "artifact": {"path": str(self.path), "bytes": self.bytes, "sha256": self.sha256},
            "preprocessing": self.preprocessing,
            "warnings": list(self.warnings),
            "drift": None if drift is None else drift.to_json(),
            "blame": [] if drift is None else attribution.conversion(self.keras_sqnr_db, drift),
            "gate": None if gate is None else gate.to_json(),
            "source": self.source,
            "calibration": self.calibration,
            "layers": self.layers,
            "float_layers": list(dict.fromkeys(self.float_layers)),
            "float_islands": [island.to_json() for island in self.float_islands],
            "raised_scales": asdict(self.raised),
            "recovery": [asdict(row) for row in self.recovery],
            "timings_s": self.timings_s,
            "cached": list(self.cached),
            "latency_ms": self.latency_ms,
            "float_latency_ms": self.float_latency_ms,
            "environment": environment(),
        }

    def _repr_html_(self) -> str:
        """Return the page in a frame, for notebooks: the one beside the artifact, if it is of this artifact."""
        from convert.reporting import html, notebook  # which draw charts

        beside = html.beside(self.path)
        written = beside.read_text("utf-8") if beside.is_file() else ""
        return notebook.framed(written if self.sha256 in written else html.render(self.to_json(), self.compared))


def exit_code(gates: Sequence[Gate | None]) -> int:
    """Return the exit code of the worst verdict; gates that did not judge (None) do not count."""
    return EXIT_CODES[worst([PASS, *(gate.verdict for gate in gates if gate is not None)])]


def as_text(value: Any) -> str:
    """Return JSON that is valid UTF-8: bytes of file names that are not are written as `\\udce9`."""
    return json.dumps(_encodable(value), indent=1, ensure_ascii=False)


def report_path(artifact: Path) -> Path:
    """Return the path of an artifact's report."""
    return artifact.with_name(f"{artifact.name}.report.json")


def write_report(report: dict[str, Any], artifact: Path) -> Path:
    """Write a report beside its artifact and return its path."""
    path = report_path(artifact)
    text = as_text(report) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, "utf-8"))
    return path


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, (list, tuple)) else value
