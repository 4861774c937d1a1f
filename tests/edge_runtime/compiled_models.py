"""Networks as a vendor's compiler leaves them, one custom operator for a part, and a stand-in for its hardware."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from edge_runtime import trial
from edge_runtime.arrays import Array
from edge_runtime.engines import PASSED
from edge_runtime.probe import Probe
from edge_runtime.trial import Trial
from tests.edge_runtime.refusals import EXPECTED
from tests.edge_runtime.tiny_model import TinyArtifact, tiny_artifact

EDGE_TPU, ETHOS_U = "edgetpu-custom-op", "ethos-u"
EVERYTHING = slice(None)


def compiled(model: bytes, operator: str = EDGE_TPU, part: slice = EVERYTHING) -> bytes:
    """Return a model of which a part of the operators has become one custom operator."""
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = content.subgraphs[0]
    only = schema.OperatorT()
    only.inputs, only.outputs = ends_of(content, part)
    only.opcodeIndex, only.customOptions = len(content.operatorCodes), [1, 2, 3]
    content.operatorCodes = [*content.operatorCodes, _custom_code(operator)]
    graph.operators[part] = [only]
    used = sorted({each.opcodeIndex for each in graph.operators})  # a compiler lists no kinds that are gone
    content.operatorCodes = [content.operatorCodes[i] for i in used]
    for each in graph.operators:
        each.opcodeIndex = used.index(each.opcodeIndex)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def with_memory(model: bytes) -> bytes:
    """Return a compiled model whose custom operator also reads commands, weights and memory, as Vela writes it.

    Commands and weights are constants without a scale; the memory is written by nothing.
    """
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph, more = content.subgraphs[0], []
    for name, is_constant in {"commands": True, "weights": True, "scratch": False, "scratch_fast": False}.items():
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.arange(64, dtype=np.uint8) if is_constant else None
        content.buffers.append(buffer)
        tensor.name, tensor.shape, tensor.type = name.encode(), [64], schema.TensorType.UINT8
        tensor.buffer = len(content.buffers) - 1
        graph.tensors.append(tensor)
        more.append(len(graph.tensors) - 1)
    for each in graph.operators:
        if content.operatorCodes[each.opcodeIndex].customCode:
            each.inputs = [*more, *each.inputs]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def ends_of(content: Any, part: slice) -> tuple[list[int], list[int]]:
    """Return the tensors that a part of a graph takes from outside, constants apart, and those that it gives away."""
    graph = content.subgraphs[0]
    inside = graph.operators[part]
    outside = [each for each in graph.operators if all(each is not member for member in inside)]
    read, written = _tensors(inside, "inputs"), _tensors(inside, "outputs")
    wanted = {*_tensors(outside, "inputs"), *map(int, graph.outputs)}
    constants = {i for i, tensor in enumerate(graph.tensors) if content.buffers[tensor.buffer].data is not None}
    return [i for i in read if i not in {*written, *constants}], [i for i in written if i in wanted]


def _tensors(operators: Sequence[Any], end: str) -> list[int]:
    return list(dict.fromkeys(int(i) for each in operators for i in getattr(each, end)))


def _custom_code(operator: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = operator.encode(), 1
    return code


@contextmanager
def hardware_for(
    model: bytes, part: slice, plugin: Path, change: Callable[[Array], Array] = np.asarray
) -> Iterator[str]:
    """Yield what `--delegate` takes for a plugin that computes a part of a model, by LiteRT, as hardware would.

    `change` is what goes wrong on the way.
    """
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = content.subgraphs[0]
    graph.inputs, graph.outputs = ends_of(content, part)
    graph.operators, content.signatureDefs = graph.operators[part], None
    interpreter = Interpreter(model_content=bytes(flatbuffer_utils.convert_object_to_bytearray(content)))
    interpreter.allocate_tensors()
    (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()

    def compute(given: int, made: int) -> None:
        empty = np.empty(image["shape"], image["dtype"])
        ctypes.memmove(empty.ctypes.data, given, empty.nbytes)
        interpreter.set_tensor(image["index"], empty)
        interpreter.invoke()
        result = np.ascontiguousarray(change(interpreter.get_tensor(answer["index"])))
        ctypes.memmove(made, result.ctypes.data, result.nbytes)

    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(compute)
    with pytest.MonkeyPatch.context() as patch:  # what is computed here cannot be tried in a child process
        patch.setattr(trial, "try_out", lambda _: Trial(PASSED, 1.0))
        yield f"{plugin}:compute={ctypes.cast(callback, ctypes.c_void_p).value}"


def compiled_artifact(operator: str = EDGE_TPU, probe: bool = True) -> TinyArtifact:
    """Return the tiny artifact with a compiled network, and with what the CPU answered to the probe before."""
    tiny = tiny_artifact()
    card = replace(tiny.card, probe=Probe(tuple(map(float, EXPECTED))) if probe else None)
    return replace(tiny, flatbuffer=compiled(tiny.flatbuffer, operator), card=card).signed()


def compiled_file(path: Path, operator: str = EDGE_TPU) -> Path:
    """Write a compiled network without a card."""
    path.write_bytes(compiled(tiny_artifact().flatbuffer, operator))
    return path
