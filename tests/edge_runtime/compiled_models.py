"""The tiny network as a vendor's compiler leaves it: one custom operator from the input to the answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edge_runtime.probe import Probe
from tests.edge_runtime.refusals import EXPECTED
from tests.edge_runtime.tiny_model import TinyArtifact, tiny_artifact

EDGE_TPU = "edgetpu-custom-op"


def compiled(model: bytes, operator: str = EDGE_TPU) -> bytes:
    """Return a model whose operators have become one custom operator."""
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = content.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = operator.encode(), 1
    only = schema.OperatorT()
    only.inputs, only.outputs, only.customOptions = list(graph.inputs), list(graph.outputs), [1, 2, 3]
    content.operatorCodes, graph.operators = [code], [only]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def compiled_artifact(operator: str = EDGE_TPU, probe: bool = True) -> TinyArtifact:
    """Return the tiny artifact with a compiled network, and with what the CPU answered to the probe before."""
    tiny = tiny_artifact()
    card = replace(tiny.card, probe=Probe(tuple(map(float, EXPECTED))) if probe else None)
    return replace(tiny, flatbuffer=compiled(tiny.flatbuffer, operator), card=card).signed()


def compiled_file(path: Path, operator: str = EDGE_TPU) -> Path:
    """Write a compiled network without a card."""
    path.write_bytes(compiled(tiny_artifact().flatbuffer, operator))
    return path
