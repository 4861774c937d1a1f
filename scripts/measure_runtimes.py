"""Measures what runtimes open, for `convert/operator_versions.csv`.

    python scripts/measure_runtimes.py NAME=PYTHON... > convert/operator_versions.csv

PYTHON is the interpreter of a virtual environment with tflite-runtime, tensorflow or ai-edge-litert in it, NAME what
`--target-runtime` calls it; oldest first.

A model that lists an operator of some version, and uses none, is enough: a runtime looks all of them up when it opens
a file. So nothing here depends on what a runtime says of itself.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

HIGHEST_TRIED = 20
SMALLEST_CODE_WITH_A_FIELD_OF_ITS_OWN = 127
TENSOR_TYPES = {v: k for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
OPERATORS = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if not name.startswith("_") and name not in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
}
OUTSIDE_AT = 4096
PROBE = """
import glob, importlib.metadata, json, os, sys
try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError:
    try:
        from tflite_runtime.interpreter import Interpreter
    except ModuleNotFoundError:
        from tensorflow.lite.python.interpreter import Interpreter
opened = []
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.tflite"))):
    try:
        interpreter = Interpreter(model_path=path)
        if "outside" in path:
            interpreter.allocate_tensors()
            if interpreter.get_tensor(0).tolist() != [1, 2, 3, 4]:
                continue
        opened.append(os.path.basename(path)[: -len(".tflite")])
    except (ValueError, RuntimeError):
        pass
package = Interpreter.__module__.split(".")[0].replace("_", "-").replace("tensorflow", "tensorflow-cpu")
print(json.dumps([importlib.metadata.version(package), opened]))
"""


def model_with(operators: list[tuple[int, int]], tensor: Any, data: Any) -> bytes:
    """A model of no operator that lists (builtin code, version) pairs and has one tensor, its output."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.operatorCodes, model.buffers = 3, [], [schema.BufferT(), data]
    for builtin, version in operators:
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, version
        code.deprecatedBuiltinCode = min(builtin, SMALLEST_CODE_WITH_A_FIELD_OF_ITS_OWN)
        model.operatorCodes.append(code)
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [tensor], [], [], [0]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensor_of(kind: int, buffer: int) -> Any:
    """A tensor of four elements."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = b"x", [4], kind, buffer
    return tensor


def model_with_constants_outside() -> bytes:
    """A model whose only constant stands behind its flatbuffer, as converters store what exceeds 2 GB."""
    data = schema.BufferT()
    data.offset, data.size = OUTSIDE_AT, 4
    flatbuffer = model_with([], tensor_of(schema.TensorType.UINT8, 1), data)
    return flatbuffer.ljust(OUTSIDE_AT, b"\0") + bytes([1, 2, 3, 4])


def write_probes(folder: Path) -> None:
    """A file for each version of each operator, for each type of tensor, and for constants outside the flatbuffer."""
    for code, name in OPERATORS.items():
        for version in range(1, HIGHEST_TRIED + 1):
            model = model_with([(code, version)], tensor_of(0, 0), schema.BufferT())
            (folder / f"{name} {version}.tflite").write_bytes(model)
    for kind, name in TENSOR_TYPES.items():
        (folder / f"type:{name.lower()} 1.tflite").write_bytes(model_with([], tensor_of(kind, 0), schema.BufferT()))
    (folder / "constants-outside 1.tflite").write_bytes(model_with_constants_outside())


def measure(python: str, folder: Path) -> tuple[str, dict[str, int]]:
    """Release of a runtime, and the highest version of each operator that it opens; 1 for a type of tensor."""
    done = subprocess.run([python, "-c", PROBE, folder], check=True, capture_output=True)
    release, opened = json.loads(done.stdout.decode().splitlines()[-1])
    highest: dict[str, int] = {}
    for entry in opened:
        name, version = entry.split(" ")
        highest[name] = max(highest.get(name, 0), int(version))
    return release, highest


def main(arguments: list[str]) -> None:
    """Print a column for each runtime, and a row for each operator and type."""
    names, pythons = zip(*(argument.split("=", 1) for argument in arguments), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        write_probes(Path(folder))
        releases, columns = zip(*(measure(python, Path(folder)) for python in pythons), strict=True)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("runtime", *names))
    table.writerow(("release", *releases))
    for row in sorted(set().union(*columns)):
        table.writerow((row, *(column.get(row, 0) for column in columns)))


if __name__ == "__main__":
    main(sys.argv[1:])
