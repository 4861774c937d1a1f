"""Which operator is the first that a delegate computes wrongly: found by halving.

Where a cut is right, what goes wrong later goes wrong in a later operator. Between one that is right and one that is
wrong there is an operator with which it begins; after the comparison of the whole model, halving finds it in
ceil(log2(operators)) more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path

from convert.audit.cuts import FAILS, RIGHT, Comparison, Cuts
from convert.audit.inspection import InspectedFile
from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import Operator
from edge_runtime._graph_check import check_dataflow, compiled_operator
from edge_runtime.artifact import Model
from edge_runtime.custom_operators import needs_hardware
from edge_runtime.delegates import CPU, DelegateRequest
from edge_runtime.delegation import Delegation
from edge_runtime.engines import choose_engine
from edge_runtime.errors import DelegateError
from edge_runtime.specs import InputSpec

NO_IMAGES = InputSpec(1, 1, (0.0,) * 3, (1.0,) * 3)
"""Stands for how images are prepared where nobody says: a model is given noise."""


@dataclass(frozen=True)
class TensorFact:
    """A tensor of an operator: its name, dtype, shape, scale and zero point, and whether it is a constant."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    constant: bool


@dataclass(frozen=True)
class FirstWrong:
    """The first operator with which a delegate is wrong.

    Attributes:
        number: among the operators that depend on an input, in order of execution, from 1.
        operator: its kind, or a custom operator's own name.
        inputs, outputs: its tensors, each with `name`, `dtype`, `shape`, `scale`, `zero_point` and `constant`.
        before: the comparison of what is before it; null for the first.
        after: the comparison of that and itself.
    """

    number: int
    operator: str
    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    before: Comparison | None
    after: Comparison


@dataclass(frozen=True)
class Bisection:
    """How a delegate compares with the CPU; its fields are the key `bisect` of `irv2-inspect --bisect --json`.

    Attributes:
        delegate, library: what was asked for, and its plugin library; null without one.
        engine: interpreter and version.
        given: what the inputs were.
        verdict: of the whole model: "right", "wrong", or "fails" where it gives no answer.
        operators: how many depend on an input.
        comparisons: in the order in which they were made, each with `operators` (how many of them were computed),
            `verdict`, `tensor` (the worst of those given away), `sqnr_db`, `max_abs_error`, `kernels_db`
            and `reason`.
        most_comparisons: how many there can be, ceil(log2(operators)) + 1.
        first_wrong: `number`, `operator`, `inputs`, `outputs`, `before` and `after`; null if the verdict is "right".
    """

    delegate: str
    library: str | None
    engine: str
    given: str
    verdict: str
    operators: int
    comparisons: list[Comparison]
    most_comparisons: int
    first_wrong: FirstWrong | None


def bisect(path: Path, file: InspectedFile, request: DelegateRequest) -> Bisection:
    """Compare a delegate with the CPU's plain kernels, and find the first operator that it computes wrongly.

    Raises:
        ArtifactError: the model's operators do not fit together.
        DelegateError: it is the CPU, cannot be found, or fails on every part of the model.
        EngineError: the CPU cannot compute the model.
        LoweringError: the model has several subgraphs, or is compiled for some hardware.
    """
    if request.name == CPU:
        raise DelegateError("--bisect compares a delegate with the CPU: pass --delegate with another one")
    check_dataflow(file.flatbuffer)
    if (compiled := compiled_operator(file.flatbuffer)) is not None:
        raise LoweringError(f"{path} {needs_hardware(compiled)}, for there is nothing to compare with")
    model = Model(path, file.artifact, NO_IMAGES if file.artifact is None else file.artifact.card.preprocessing, None)
    delegation = Delegation.find(model, request, choose_engine("litert"), 1, 1)
    cuts = Cuts(file, delegation)
    comparisons = _halve(cuts)
    whole, count = comparisons[0], len(cuts.operators)
    return Bisection(
        delegate=request.text,
        library=None if delegation.library is None else str(delegation.library),
        engine=str(delegation.choice),
        given=cuts.given,
        verdict=whole.verdict,
        operators=count,
        comparisons=comparisons,
        most_comparisons=ceil(log2(count)) + 1,
        first_wrong=None if whole.verdict == RIGHT else _first_wrong(request, cuts, comparisons),
    )


def _halve(cuts: Cuts) -> list[Comparison]:
    """Compare the whole model and, if it is not right, the cuts on the way to the first that is not."""
    right, wrong = 0, len(cuts.operators)
    comparisons = [cuts.compare(wrong)]
    while comparisons[0].verdict != RIGHT and wrong - right > 1:
        middle = (right + wrong) // 2
        comparisons.append(cuts.compare(middle))
        right, wrong = (middle, wrong) if comparisons[-1].verdict == RIGHT else (right, middle)
    return comparisons


def _first_wrong(request: DelegateRequest, cuts: Cuts, comparisons: list[Comparison]) -> FirstWrong:
    after = min((each for each in comparisons if each.verdict != RIGHT), key=lambda each: each.operators)
    if after.operators == 1 and all(each.verdict == FAILS for each in comparisons):
        raise DelegateError(f"delegate {request.text} fails on every part of the model: {after.reason}")
    before = next((each for each in comparisons if each.operators == after.operators - 1), None)
    operator = cuts.operators[after.operators - 1]
    inputs, outputs = (_facts(cuts.graph, indices) for indices in (operator.inputs, operator.outputs))
    return FirstWrong(after.operators, _kind(operator), inputs, outputs, before, after)


def _kind(operator: Operator) -> str:
    return operator.custom or operator.name


def _facts(graph: TfliteGraph, indices: tuple[int, ...]) -> tuple[TensorFact, ...]:
    facts = []
    for index in (each for each in indices if each >= 0):
        scale, zero_point = graph.quantization(index) or (None, None)
        name, dtype, shape = graph.tensor_name(index), graph.dtype(index), graph.shape(index)
        facts.append(TensorFact(name, dtype, shape, scale, zero_point, graph.is_constant(index)))
    return tuple(facts)
