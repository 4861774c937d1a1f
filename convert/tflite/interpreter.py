"""LiteRT on this machine: a model run over images, and an interpreter whose intermediate tensors can be read."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from ai_edge_litert.interpreter import OpResolverType

from convert.errors import LoweringError
from convert.system.parallel import in_order
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import Operator
from edge_runtime.arrays import Array
from edge_runtime.benchmark import milliseconds
from edge_runtime.console import native_stderr_silenced
from edge_runtime.engines import Engine, choose_engine, import_interpreter
from edge_runtime.specs import INDEPENDENT, SOFTMAX

Given = TypeVar("Given")
Looked = TypeVar("Looked")
Opened = TypeVar("Opened")
MOST_ENGINES = 4
"""Interpreters at once: each has the weights, as XNNPACK packs them, and every tensor of an image in memory."""
HEAD_OF = {"SOFTMAX": SOFTMAX, "LOGISTIC": INDEPENDENT}
"""Operator that makes probabilities -> the head that it is."""
PASS_THROUGH = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")
"""Operators that may follow it."""


def open_engine(model: Path | bytes) -> Engine:
    """Return an engine that computes a model on one thread per core."""
    return Engine(model, choose_engine("litert"), None)


def open_interpreter(model: bytes, threads: int) -> Any:
    """Return LiteRT's own interpreter of a model with any number of inputs and outputs."""
    with native_stderr_silenced():
        interpreter = import_interpreter(choose_engine("litert"))(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def run_over(engine: Engine, tensors: Iterable[Array]) -> Iterator[Array]:
    """Run a model of batch 1 over input tensors and yield their output tensors, all without the batch axis.

    Between two of them a `RecordingEngine` holds every tensor of the image it ran last: that is when observers look.
    """
    for tensor in tensors:
        yield engine.run(tensor[np.newaxis])[0]


class RecordingEngine(Engine):
    """LiteRT that keeps every tensor after a run."""

    def __init__(self, model: Path | bytes, threads: int | None = None, *, with_xnnpack: bool = True) -> None:
        """Load a model, to be computed on one thread per core unless their number is given.

        Without XNNPACK, which unpacks some constants for itself, what is computed of these is kept.
        """
        options: dict[str, Any] = {"experimental_preserve_all_tensors": True}
        if not with_xnnpack:
            options["experimental_op_resolver_type"] = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        super().__init__(model, choose_engine("litert"), threads, options=options)

    def tensor(self, index: int) -> Array:
        """Return a copy of a tensor of the last run."""
        return np.asarray(self._interpreter.get_tensor(index))

    def view(self, index: int) -> Array:
        """Return a tensor of the last run where it lies; the next run is refused until it is let go of."""
        return np.asarray(self._interpreter.tensor(index)())


def record_over(
    model: bytes, tensors: Iterable[Array], look: Callable[[RecordingEngine, int], Looked]
) -> Iterator[Looked]:
    """Run a model of batch 1 over input tensors, and yield what `look` sees in the recording of each, in their order.

    Every core has an image of its own. That is faster than all of them in one image, where they wait for each other at
    each operator, and where nothing is computed while somebody looks. `look` is given the number of the image too, and
    must not depend on what it saw before.
    """

    def recorded(engine: RecordingEngine, image: tuple[int, Array]) -> Looked:
        number, tensor = image
        engine.run(tensor[np.newaxis])
        return look(engine, number)

    return side_by_side(lambda threads: RecordingEngine(model, threads), recorded, enumerate(tensors))


def side_by_side(
    opened: Callable[[int], Opened],
    compute: Callable[[Opened, Given], Looked],
    given: Iterable[Given],
    cores: int | None = None,
) -> Iterator[Looked]:
    """Yield what `compute` returns for each item, in their order, with several interpreters that share the cores.

    Args:
        opened: called with a number of threads, returns an interpreter.
        compute: called with an interpreter that nobody else uses meanwhile, and an item.
        cores: how many there are to share; None for all of the machine's.
    """
    interpreters = InterpreterPool(opened, cores or len(os.sched_getaffinity(0)))

    def computed(item: Given) -> Looked:
        with interpreters.lent() as interpreter:
            return compute(interpreter, item)

    yield from in_order(computed, given, interpreters.size, interpreters.size)


class InterpreterPool(Generic[Opened]):
    """Several interpreters of a model that share cores.

    Attributes:
        size: their number.
    """

    def __init__(self, opened: Callable[[int], Opened], cores: int) -> None:
        """Open the interpreters: `opened` is called with a number of threads."""
        self.size = min(cores, MOST_ENGINES)
        self._free = queue.SimpleQueue[Opened]()
        for _ in range(self.size):
            self._free.put(opened(cores // self.size))

    @contextmanager
    def lent(self) -> Iterator[Opened]:
        """Yield an interpreter that nobody else uses meanwhile; wait until one is free."""
        interpreter = self._free.get()
        try:
            yield interpreter
        finally:
            self._free.put(interpreter)


def median_milliseconds(model: bytes, runs: int) -> float:
    """Return the median time of a model of any ends on one thread per core, on zeros."""
    interpreter = import_interpreter(choose_engine("litert"))(model_content=model, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    interpreter.invoke()
    return float(np.median([milliseconds(interpreter.invoke) for _ in range(runs)]))


def ends_in(graph: TfliteGraph) -> Operator | None:
    """Return the operator that makes the model's output, before it is reshaped or requantized."""
    operator = graph.producer(graph.outputs[0])
    while operator is not None and operator.name in PASS_THROUGH:
        operator = graph.producer(operator.inputs[0])
    return operator


def final_activation(graph: TfliteGraph) -> Operator:
    """Return the softmax or the sigmoids that make the model's output, or else its last softmax.

    Raises:
        LoweringError: it has neither.
    """
    operator = ends_in(graph)
    if operator is not None and operator.name in HEAD_OF:
        return operator
    softmax = graph.named("SOFTMAX")
    if not softmax:
        raise LoweringError(
            "the model does not end in a softmax or in sigmoids: only classifiers with class probabilities are "
            "supported"
        )
    return softmax[-1]


def head_of(graph: TfliteGraph) -> str:
    """Return which of `edge_runtime.specs.HEADS` the model has; see `final_activation` for errors."""
    return HEAD_OF[final_activation(graph).name]


def logits_tensor(graph: TfliteGraph) -> int:
    """Return the index of the tensor that the last softmax or sigmoids read; see `final_activation` for errors."""
    return final_activation(graph).inputs[0]
