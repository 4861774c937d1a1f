"""The name of a scheme is a promise: an artifact is audited before it gets it."""

from __future__ import annotations

from convert.audit.operators import ClassifiedGraph
from convert.audit.verdict import INT8, INT16X8, OPENINGS, judge
from convert.quantization.schemes import SCHEMES, Scheme
from convert.tflite.graph import TfliteGraph, layer_name

PROMISED = {"int8": INT8, "int16x8": INT16X8}
"""Scheme -> the kind that the audit must find; the other schemes promise nothing that it could refute."""
NAMES_SHOWN = 3


def audited(scheme: Scheme, graph: TfliteGraph) -> tuple[Scheme, str | None]:
    """Return the scheme whose name a quantized model of another scheme may have, and why it is not that one's.

    The reason, one line for users, is None where the promise is held. A scheme without a `Scheme.fallback` keeps its
    name, with the reason.
    """
    promised = PROMISED.get(scheme.name)
    classified = ClassifiedGraph(graph)
    if promised is None or judge(classified).kind == promised:
        return scheme, None
    name = SCHEMES[scheme.fallback] if scheme.fallback is not None else scheme
    renamed = "" if name is scheme else f", so it is named {name.name}"
    return name, f"{scheme.name} is not what the audit finds{renamed}: {_reason(classified)}"


def _reason(graph: ClassifiedGraph) -> str:
    """Say what stays in float and why, or else what the audit finds instead."""
    runs = [run for run in graph.float_runs if run.role != "head" and not run.is_preparation]
    floats = [operator for run in runs for operator in run.operators]
    if not floats:
        return OPENINGS[judge(graph).kind]
    kinds = ", ".join(dict.fromkeys(operator.label for operator in floats))
    names = list(dict.fromkeys(layer_name(operator.output) for operator in floats))
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"{kinds} at {', '.join(names[:NAMES_SHOWN])}{more} stays in float, for want of an integer kernel or rule"
