"""Where a network's milliseconds go, operator by operator, and how far that is from what the machine can multiply.

    python -m benchmarks.profiling build/irv2-demo.int8.tflite
    python -m benchmarks.profiling build/irv2-demo.int8.tflite --threads 2 --size 299

Times are the smallest of all runs, operator by operator: others use the machine, too. The limit is what the same
runtime reaches on a convolution without a flaw: 1x1, many channels, as many pixels as fill its tiles.
"""

from __future__ import annotations

import math
import platform
import re
from collections import defaultdict
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils

from benchmarks.litert_profiler import Event, ProfiledModel
from convert.tflite.graph import Operator, TfliteGraph

SCHEMA = flatbuffer_utils.schema_fb
RUNS, WARM_UP = 60, 5
MULTIPLYING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
MULTIPLYING_EVENTS = ("Convolution", "Fully Connected", "Depthwise Convolution")
STAGES = re.compile(r"(stem|inception_resnet_[ABC]|reduction_[AB])_")
HEAD = "head"
PIXELS, CHANNELS_IN, CHANNELS_OUT = (63, 63), 1024, 512
"""Of the convolution that shows the limit: the tiles of XNNPACK's int8 kernels are 7 pixels high with AVX-512."""


@dataclass(frozen=True)
class Step:
    """One operator as XNNPACK runs it: which part of the network, what it is, milliseconds, multiplications."""

    stage: str
    kind: str
    milliseconds: float
    macs: int


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--threads", default=1, show_default=True, help="Threads to compute with.")
@click.option("--size", type=int, help="Another size of the picture; the network must be fully convolutional.")
def main(model: Path, threads: int, size: int | None) -> None:
    """Profile a `.tflite` whose weights are int8."""
    content = model.read_bytes() if size is None else resized(model.read_bytes(), size)
    graph = TfliteGraph(content)
    steps, limit = profile(content, threads), peak(threads)
    macs, total = sum(step.macs for step in steps), sum(step.milliseconds for step in steps)
    engine = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    height, width = graph.shape(graph.inputs[0])[1:3]
    print(f"{processor()}, {engine}, {model.name} at {height}x{width}, {threads} thread(s), best of {RUNS}\n")
    print("| stage | operator | of these | ms | GMAC | GMAC/s |\n|---|---|--:|--:|--:|--:|")
    for (stage, kind), members in grouped(steps).items():
        print(f"| {stage} | {kind} | {len(members)} | {figures(members)} |")
    print(f"| all | | {len(steps)} | {figures(steps)} |\n")
    least = macs / limit * 1e3
    print(f"Limit: {limit / 1e9:.0f} GMAC/s, so {least:.1f} ms; {least / total:.0%} of it is reached.")


def profile(model: bytes, threads: int) -> list[Step]:
    """The smallest time of each operator."""
    profiled = ProfiledModel(model, threads)
    for _ in range(WARM_UP):
        profiled.run()
    runs = profiled.record(RUNS)
    best = np.min([[event.microseconds for event in run] for run in runs], axis=0) / 1e3
    return steps_of(TfliteGraph(model), runs[0], best)


def steps_of(graph: TfliteGraph, events: list[Event], milliseconds: Any) -> list[Step]:
    """Events with the stage and the multiplications of the operators they stand for.

    XNNPACK keeps the order, but makes two operators of some: what multiplies is matched one to one, and what comes
    between belongs to the stage of what multiplied last.
    """
    operators = [operator for operator in graph.operators if operator.name in MULTIPLYING]
    multiply = [event.name.startswith(MULTIPLYING_EVENTS) for event in events]
    if sum(multiply) != len(operators):
        raise click.ClickException(f"{sum(multiply)} events for {len(operators)} operators that multiply")
    remaining, stage, steps = iter(operators), "stem", []
    for event, multiplies, spent in zip(events, multiply, milliseconds, strict=True):
        kind, macs = re.sub(r" \(.*", "", event.name).lower(), 0
        if multiplies:
            operator = next(remaining)
            stage, kind, macs = stage_of(graph, operator), kind_of(graph, operator), macs_of(graph, operator)
        steps.append(Step(stage, kind, float(spent), macs))
    return steps


def stage_of(graph: TfliteGraph, operator: Operator) -> str:
    """The part of the network that an operator's name tells; our network's names have it."""
    found = STAGES.search(graph.tensor_name(operator.outputs[0]))
    return found[1] if found else HEAD


def kind_of(graph: TfliteGraph, operator: Operator) -> str:
    """ "convolution 1x7"; "dense"."""
    kernel = graph.shape(operator.inputs[1])
    return f"convolution {kernel[1]}x{kernel[2]}" if len(kernel) == 4 else "dense"


def macs_of(graph: TfliteGraph, operator: Operator) -> int:
    """Multiply-accumulates: each weight is used once for every output pixel."""
    return math.prod(graph.shape(operator.inputs[1])) * math.prod(graph.shape(operator.outputs[0])[1:-1])


def grouped(steps: list[Step]) -> dict[tuple[str, str], list[Step]]:
    """Steps by stage and kind, in the order they first come."""
    groups = defaultdict(list)
    for step in steps:
        groups[step.stage, step.kind].append(step)
    return dict(groups)


def figures(steps: list[Step]) -> str:
    """Three cells of a table: milliseconds, GMAC, GMAC/s."""
    spent, macs = sum(step.milliseconds for step in steps), sum(step.macs for step in steps)
    return f"{spent:.2f} | {macs / 1e9:.2f} | {macs / spent / 1e6:.0f}" if macs and spent else f"{spent:.2f} | | "


def peak(threads: int) -> float:
    """Multiply-accumulates a second of a convolution without a flaw."""
    best = min(sum(step.milliseconds for step in profile(flawless(), threads)) for _ in range(3))
    return math.prod(PIXELS) * CHANNELS_IN * CHANNELS_OUT / best * 1e3


def flawless() -> bytes:
    """An int8 `.tflite` of one 1x1 convolution, and the signature that LiteRT asks for."""
    model, graph = SCHEMA.ModelT(), SCHEMA.SubGraphT()
    model.version, model.buffers, model.subgraphs, graph.tensors = 3, [SCHEMA.BufferT()], [graph], []

    def tensor(name: str, dtype: int, shape: tuple[int, ...], scales: list[float], values: Any = None) -> int:
        made, buffer, quantization = SCHEMA.TensorT(), SCHEMA.BufferT(), SCHEMA.QuantizationParametersT()
        buffer.data = None if values is None else values.reshape(-1).view(np.uint8)
        quantization.scale, quantization.zeroPoint = np.float32(scales), np.zeros(len(scales), np.int64)
        made.name, made.type, made.shape = name.encode(), dtype, np.int32(shape)
        made.buffer, made.quantization = len(model.buffers), quantization
        model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    int8, int32 = SCHEMA.TensorType.INT8, SCHEMA.TensorType.INT32
    weights = np.random.default_rng(0).integers(-127, 128, (CHANNELS_OUT, 1, 1, CHANNELS_IN), np.int8)
    image = tensor("image", int8, (1, *PIXELS, CHANNELS_IN), [0.02])
    kernel = tensor("kernel", int8, weights.shape, [0.001] * CHANNELS_OUT, weights)
    bias = tensor("bias", int32, (CHANNELS_OUT,), [0.00002] * CHANNELS_OUT, np.zeros(CHANNELS_OUT, np.int32))
    result = tensor("result", int8, (1, *PIXELS, CHANNELS_OUT), [0.1])
    code, operator, options = SCHEMA.OperatorCodeT(), SCHEMA.OperatorT(), SCHEMA.Conv2DOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = SCHEMA.BuiltinOperator.CONV_2D
    code.version = 3
    options.strideH = options.strideW = 1
    operator.inputs, operator.outputs = np.int32([image, kernel, bias]), np.int32([result])
    operator.builtinOptionsType, operator.builtinOptions = SCHEMA.BuiltinOptions.Conv2DOptions, options
    model.operatorCodes, graph.operators = [code], [operator]
    graph.inputs, graph.outputs = np.int32([image]), np.int32([result])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def resized(model: bytes, size: int) -> bytes:
    """A fully convolutional model for pictures of another size, for timing: the interpreter tells all shapes."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter, graph = Interpreter(model_content=model, experimental_op_resolver_type=plain), TfliteGraph(model)
    image = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(image["index"], (1, size, size, image["shape"][3]))
    interpreter.allocate_tensors()
    for tensor in interpreter.get_tensor_details():
        if tensor["index"] in graph.tensors and not graph.is_constant(tensor["index"]):
            graph.set_shape(tensor["index"], tuple(tensor["shape"]))
    return graph.to_bytes()


def processor() -> str:
    """What the processor calls itself, where the system tells."""
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
