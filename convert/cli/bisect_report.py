"""What `irv2-inspect --bisect` prints: a report that can be attached to a bug."""

from __future__ import annotations

import platform
from pathlib import Path

from convert.audit.bisect import Bisection, FirstWrong, TensorFact
from convert.audit.cuts import FAILS, RIGHT, WRONG, Comparison
from convert.statistics.metrics import MAXIMUM_SQNR_DB

HOW = {WRONG: "computes wrongly", FAILS: "fails on"}
"""Verdict of a cut -> what a delegate does to its last operator."""


def bisection_lines(model: Path, bisection: Bisection) -> list[str]:
    """Return the lines: what was found, the operator, each comparison, and what it was found with."""
    made = f"{len(bisection.comparisons)} of at most {bisection.most_comparisons} comparisons"
    found = bisection.first_wrong
    if found is None:
        whole = bisection.comparisons[0]
        lines = [f"right: {bisection.delegate} answers as the CPU does, {_how_far(whole)}; {made}"]
    else:
        named = f"operator {found.number} of {bisection.operators}, {found.operator} {found.outputs[0].name}"
        what = f"{found.after.verdict}: {named}, is the first that {bisection.delegate} {HOW[found.after.verdict]}"
        lines = [
            f"{what}; {made}",
            "",
            *_operator_lines(found),
        ]
    lines += ["", "operators  verdict"]
    lines += [f"{each.operators:9}  {each.verdict}: {_how_far(each)}" for each in bisection.comparisons]
    return [
        *lines,
        "",
        f"model    {model}",
        f"given    {bisection.given}",
        f"delegate {bisection.delegate}{'' if bisection.library is None else f', library {bisection.library}'}",
        f"CPU      {bisection.engine}, plain kernels, on {platform.machine()}, {platform.platform()}",
    ]


def _operator_lines(found: FirstWrong) -> list[str]:
    before = "the input" if found.before is None else f"{RIGHT}, {_how_far(found.before)}"
    lines = [f"  reads  {_described(tensor)}" for tensor in found.inputs]
    lines += [f"  writes {_described(tensor)}" for tensor in found.outputs]
    return [*lines, f"  before {before}", f"  after  {found.after.verdict}, {_how_far(found.after)}"]


def _described(tensor: TensorFact) -> str:
    quantization = "" if tensor.scale is None else f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
    constant = ", constant" if tensor.constant else ""
    return f"{tensor.dtype} [{', '.join(map(str, tensor.shape))}] {tensor.name}{quantization}{constant}"


def _how_far(comparison: Comparison) -> str:
    if comparison.reason is not None:
        return comparison.reason
    if comparison.max_abs_error is None:
        return f"NaN or infinity in {comparison.tensor}"
    if comparison.max_abs_error == 0:
        return f"equal in {comparison.tensor}"
    off = f"{comparison.sqnr_db:.1f} dB, off by at most {comparison.max_abs_error:.3g}, in {comparison.tensor}"
    if comparison.kernels_db is None or comparison.kernels_db == MAXIMUM_SQNR_DB:
        return off
    return f"{off}; between the CPU's own kernels {comparison.kernels_db:.1f} dB"
