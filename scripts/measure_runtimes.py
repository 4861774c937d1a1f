"""Measures what runtimes open, for `convert/audit/operator_versions.csv`.

    python scripts/measure_runtimes.py NAME=PYTHON... > convert/audit/operator_versions.csv

PYTHON is the interpreter of a virtual environment with tflite-runtime, tensorflow or ai-edge-litert in it, NAME what
`--target-runtime` calls it; oldest first.

A model that lists an operator of some version, and uses none, is enough: a runtime looks all of them up when it opens
a file. So nothing here depends on what a runtime says of itself.
"""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

HIGHEST_TRIED = 20
SMALLEST_CODE_WITH_A_FIELD_OF_ITS_OWN = 127
TYPE_CODES = {name.lower(): code for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
OPERATORS = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if not name.startswith("_") and name not in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
}
OUTSIDE_AT = 4096
ACTIVATIONS = {"float32": 0, "int8": 1 / 127, "int16": 1 / 32767}
"""Types of activations, with the scale of values within -1 and 1; 0: none."""
BIAS_TYPES = {"float32": np.float32, "int8": np.int32, "int16": np.int64}
WEIGHTS = {"int8": 127, "int4": 7}
"""Types of weights, and their largest value."""
WEIGHT_SCALES = {"per-channel": np.float32([0.01, 0.04, 0.16, 0.64]), "per-tensor": np.float32([0.04])}
OPTIONS = {
    "CONV_2D": (schema.Conv2DOptionsT, schema.BuiltinOptions.Conv2DOptions, {"strideW": 1, "strideH": 1, "padding": 1}),
    "DEPTHWISE_CONV_2D": (
        schema.DepthwiseConv2DOptionsT,
        schema.BuiltinOptions.DepthwiseConv2DOptions,
        {"strideW": 1, "strideH": 1, "padding": 1, "depthMultiplier": 1},
    ),
    "FULLY_CONNECTED": (schema.FullyConnectedOptionsT, schema.BuiltinOptions.FullyConnectedOptions, {}),
}
MOST_ERROR = 0.05
"""Of the largest value; a runtime that takes the first scale for all is off by more than half of it."""

PROBE = """
import glob, importlib.metadata, json, os, sys
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError:
    try:
        from tflite_runtime.interpreter import Interpreter
    except ModuleNotFoundError:
        from tensorflow.lite.python.interpreter import Interpreter

def answers_as_expected(interpreter, path):
    expected = path.replace(".tflite", ".npz")
    if os.path.exists(expected):
        known = np.load(expected)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], known["image"])
        interpreter.invoke()
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        return np.abs(answer.astype(float) - known["answer"]).max() <= known["tolerance"]
    return "outside" not in path or interpreter.get_tensor(0).tolist() == [1, 2, 3, 4]

def opens(path):
    try:
        interpreter = Interpreter(model_path=path)
        if ":" not in path and "outside" not in path:
            return True
        interpreter.allocate_tensors()
        return bool(answers_as_expected(interpreter, path))
    except (ValueError, RuntimeError):
        return False

opened = []
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.tflite"))):
    if ":" not in path:
        good = opens(path)
    else:  # a kernel that is not there may take the process with it
        child = os.fork()
        if child == 0:
            os._exit(0 if opens(path) else 1)
        good = os.waitpid(child, 0)[1] == 0
    if good:
        opened.append(os.path.basename(path)[: -len(".tflite")])
package = Interpreter.__module__.split(".")[0].replace("_", "-").replace("tensorflow", "tensorflow-cpu")
print(json.dumps([importlib.metadata.version(package), opened]))
"""


def flatbuffer(graph: Any, buffers: list[Any], operators: list[tuple[int, int]]) -> bytes:
    """A model of one subgraph that lists (builtin code, version) pairs."""
    model = schema.ModelT()
    model.version, model.operatorCodes, model.buffers, model.subgraphs = 3, [], buffers, [graph]
    for builtin, version in operators:
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, version
        code.deprecatedBuiltinCode = min(builtin, SMALLEST_CODE_WITH_A_FIELD_OF_ITS_OWN)
        model.operatorCodes.append(code)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def idle_model(operators: list[tuple[int, int]], kind: int, data: Any) -> bytes:
    """A model that lists operators, uses none, and has one tensor of four elements, its output."""
    graph, tensor = schema.SubGraphT(), schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = b"x", [4], kind, 1
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [tensor], [], [], [0]
    return flatbuffer(graph, [schema.BufferT(), data], operators)


def model_with_constants_outside() -> bytes:
    """A model whose only constant stands behind its flatbuffer, as converters store what exceeds 2 GB."""
    data = schema.BufferT()
    data.offset, data.size = OUTSIDE_AT, 4
    return idle_model([], schema.TensorType.UINT8, data).ljust(OUTSIDE_AT, b"\0") + bytes([1, 2, 3, 4])


class KernelModel:
    """One operator with quantized weights, version 1 as litert-quantizer leaves it, and its answer in float64."""

    def __init__(self, name: str, activation: str, weights: str, granularity: str) -> None:
        random, scales = np.random.default_rng(0), WEIGHT_SCALES[granularity]
        top, depthwise, dense = WEIGHTS[weights], name == "DEPTHWISE_CONV_2D", name == "FULLY_CONNECTED"
        self.graph, self.buffers = schema.SubGraphT(), [schema.BufferT()]
        self.graph.tensors = []
        kernel = random.integers(-top, top, (4,) if depthwise else (4, 4), endpoint=True)
        kernel[..., 0] = top
        real = kernel * (scales if depthwise or len(scales) == 1 else scales[:, None])
        image = random.uniform(-1, 1, (1, 4) if dense else (1, 2, 2, 4))
        step = ACTIVATIONS[activation]
        self.image = np.round(image / step).astype(activation) if step else image.astype(np.float32)
        x = self.image * (step or 1.0)
        y = x * real if depthwise else x @ real.T
        out_step = float(np.abs(y).max() * step)
        shape = {"CONV_2D": (4, 1, 1, 4), "DEPTHWISE_CONV_2D": (1, 1, 1, 4), "FULLY_CONNECTED": (4, 4)}[name]
        packed = kernel.reshape(-1).astype(np.int8).view(np.uint8)
        data = packed if weights == "int8" else (packed[::2] & 15) | (packed[1::2] << 4)
        bias = np.zeros(4, BIAS_TYPES[activation])
        tensors = [
            self.tensor(activation, image.shape, [step]),
            self.tensor(weights, shape, scales, 3 if depthwise else 0, data),
            self.tensor(bias.dtype.name, (4,), scales * step, 0, bias.view(np.uint8)),
            self.tensor(activation, y.shape, [out_step]),
        ]
        self.answer = y / (out_step or 1.0)
        self.graph.inputs, self.graph.outputs = [tensors[0]], [tensors[3]]
        self.graph.operators = [self.operator(name, tensors)]
        self.code = getattr(schema.BuiltinOperator, name)

    def tensor(self, kind: str, shape: Any, scales: Any, axis: int = 0, data: Any = None) -> int:
        """Add a tensor; its index."""
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.shape, tensor.type = b"t%d" % len(self.graph.tensors), list(shape), TYPE_CODES[kind]
        tensor.buffer, buffer.data = len(self.buffers), data
        if np.all(np.asarray(scales) > 0):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.float32(scales)
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            tensor.quantization.quantizedDimension = axis
        self.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, name: str, tensors: list[int]) -> Any:
        """The operator, of the first kind that the model lists."""
        options, kind, values = OPTIONS[name]
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, tensors[:3], tensors[3:]
        operator.builtinOptions, operator.builtinOptionsType = options(), kind
        for key, value in values.items():
            setattr(operator.builtinOptions, key, value)
        return operator

    def write(self, path: Path) -> None:
        """The model, and beside it an input with its answer."""
        path.write_bytes(flatbuffer(self.graph, self.buffers, [(self.code, 1)]))
        np.savez(
            path.with_suffix(".npz"),
            image=self.image,
            answer=self.answer,
            tolerance=MOST_ERROR * np.abs(self.answer).max(),
        )


def write_probes(folder: Path) -> None:
    """A file for each row of the table; for an operator, one for each version."""
    for code, name in OPERATORS.items():
        for version in range(1, HIGHEST_TRIED + 1):
            (folder / f"{name} {version}.tflite").write_bytes(idle_model([(code, version)], 0, schema.BufferT()))
    for name, kind in TYPE_CODES.items():
        (folder / f"type-{name} 1.tflite").write_bytes(idle_model([], kind, schema.BufferT()))
    (folder / "constants-outside 1.tflite").write_bytes(model_with_constants_outside())
    for row in itertools.product(OPTIONS, ACTIVATIONS, WEIGHTS, WEIGHT_SCALES):
        KernelModel(*row).write(folder / f"{':'.join(row)} 1.tflite")


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
