"""LiteRT's CompiledModel as an `AnyEngine`: the way to the GPU and the NPU.

It is asked for one accelerator alone, never together with the CPU: LiteRT then refuses a model with an operator that
the accelerator cannot compute, instead of silently leaving a part of it, or all of it, to the CPU.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edge_runtime._graph_check import check_dataflow
from edge_runtime._mmap import ModelFile, utf8_path
from edge_runtime.arrays import Array
from edge_runtime.console import descriptors_redirected
from edge_runtime.engines import (
    EngineChoice,
    Placement,
    import_interpreter,
    io_tensors,
    model_argument,
    refusals_reworded,
)
from edge_runtime.errors import EngineError, first_line
from edge_runtime.npu import environment_of, model_options

MODULE = "ai_edge_litert.compiled_model"
SIGNATURE = 0
MAX_LOG_BYTES = 2**20
ADAPTER = re.compile(r"Selected adapter: (?P<name>.*?), arch=.*adapterType=(?P<kind>.*)")
VENDOR_DEVICE = re.compile(r"Using (?P<name>Intel OpenVINO) device: (?P<kind>.*)")
EFFECT = re.compile(r"^└ (?!ERROR)(.+)$", re.MULTILINE)
"""The lines of LiteRT's exceptions that say more than where in its source they were raised."""


@dataclass(frozen=True)
class Accelerator:
    """LiteRT's name for an accelerator, the printed lines that explain why it cannot be used, and what it needs."""

    name: str
    complaint: re.Pattern[str]
    needs: str


ACCELERATORS = {
    "gpu": Accelerator(
        "GPU",
        re.compile(r"^(?:Warning: |ERROR: \[[^]]*\] )(.+)$", re.MULTILINE),
        "a Vulkan driver and its loader, libvulkan.so.1",
    ),
    "npu": Accelerator(
        "NPU",
        re.compile(r"^(?:└ (?=Could not load shared library )|(?=Cannot load library ))(.+)$", re.MULTILINE),
        "the vendor's own runtime, where the loader finds it",
    ),
}


class CompiledNetwork:
    """A model of any number of inputs and outputs, compiled for one accelerator, for one thread at a time.

    Attributes:
        inputs, outputs: shape and dtype of each, in the order of the model.
        device: the driver's name and kind of the hardware, or the accelerator's name if LiteRT does not tell.
    """

    def __init__(
        self, model: ModelFile, choice: EngineChoice, accelerator: str, options: Mapping[str, str] | None = None
    ) -> None:
        """Compile a model for a key of `ACCELERATORS`; `options` are those that `npu` knows.

        Raises:
            ArtifactError: the model's operators do not fit together.
            EngineError: there is no such accelerator here, or it cannot compute this model.
        """
        if accelerator not in ACCELERATORS:
            raise EngineError(f"accelerator {accelerator!r} is unknown: choose {' or '.join(ACCELERATORS)}")
        check_dataflow(model)
        self.choice = choice
        self._parts: list[Any] = []
        weakref.finalize(self, _release, self._parts)
        failure = None
        with _output_captured() as log:
            module = _import(choice)
            with refusals_reworded(choice), model_argument(model) as where:
                self._describe(import_interpreter(choice)(**where))
            try:
                self._compile(module, model, accelerator, options or {})
            except (ValueError, RuntimeError) as error:
                failure = _reason(ACCELERATORS[accelerator], log(), error)
            if failure is not None:  # and the exception is gone, which kept LiteRT's objects alive
                _release(self._parts)
                raise EngineError(f"{choice} cannot run the model on the {accelerator}: {failure}")
            adapter = ADAPTER.search(log()) or VENDOR_DEVICE.search(log())
        self.device: str | None = f"{adapter['name']}, {adapter['kind'].strip()}" if adapter else accelerator

    def _describe(self, interpreter: Any) -> None:
        """Take over from an interpreter what a CompiledModel does not tell."""
        self.inputs, self.outputs = (
            [(tuple(map(int, end["shape"])), np.dtype(end["dtype"])) for end in ends]
            for ends in (interpreter.get_input_details(), interpreter.get_output_details())
        )

    def _compile(self, module: Any, model: ModelFile, accelerator: str, options: Mapping[str, str]) -> None:
        environment = module.Environment.create(**environment_of(options))
        self._parts.append((environment, model))  # LiteRT does not copy a buffer
        how = model_options(module.HardwareAccelerator[ACCELERATORS[accelerator].name], options)
        how["environment"] = environment
        if isinstance(model, bytes):
            compiled = module.CompiledModel.from_buffer(model, **how)
        else:
            with utf8_path(model) as path:
                compiled = module.CompiledModel.from_file(path, **how)
        self._parts.append(compiled)
        given, made = compiled.create_input_buffers(SIGNATURE), compiled.create_output_buffers(SIGNATURE)
        self._parts += [given, made]
        _mute_last_words()
        for buffer, (shape, dtype) in zip(given, self.inputs, strict=True):
            buffer.write(np.zeros(shape, dtype))  # the first write is the one that prints

    def compute(self, tensors: Sequence[Array]) -> list[Array]:
        """Return the output tensors for input tensors.

        Reading waits for the accelerator, which is still busy when LiteRT's own `run` returns.

        Raises:
            EngineError: the accelerator fails, or a tensor has another dtype or shape.
        """
        for tensor, (shape, dtype) in zip(tensors, self.inputs, strict=True):
            if (tensor.shape, tensor.dtype) != (shape, dtype):  # LiteRT takes any smaller one
                raise EngineError(
                    f"{self.choice} failed: the model takes {dtype} {shape}, this is {tensor.dtype} {tensor.shape}"
                )
        _, compiled, given, made = self._parts
        try:
            for buffer, tensor in zip(given, tensors, strict=True):
                buffer.write(np.ascontiguousarray(tensor))
            compiled.run_by_index(SIGNATURE, given, made)
            values = [
                buffer.read(int(np.prod(shape)), dtype.type)
                for buffer, (shape, dtype) in zip(made, self.outputs, strict=True)
            ]
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.choice} failed on {self.device}: {first_line(error)}") from error
        return [np.asarray(value).reshape(shape) for value, (shape, _) in zip(values, self.outputs, strict=True)]


class CompiledEngine(CompiledNetwork):
    """An image classifier compiled for one accelerator; see `AnyEngine` for its attributes."""

    placement = Placement()
    remarks: tuple[str, ...] = ()

    def _describe(self, interpreter: Any) -> None:
        super()._describe(interpreter)
        image, answer = io_tensors(interpreter)
        self.input, self.input_shape, _ = image
        self.output, self.output_shape, _ = answer

    def run(self, tensor: Array) -> Array:
        """Return the output tensor for one input tensor; see `CompiledNetwork.compute` for errors."""
        return self.compute([tensor])[0]


def _import(choice: EngineChoice) -> Any:
    if choice.name != "litert":
        raise EngineError(f"engine {choice.name} can use a GPU or NPU only through a plugin library: use engine litert")
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        raise EngineError(
            f"{choice} has no CompiledModel ({first_line(error)}): pip install --upgrade ai-edge-litert ml_dtypes"
        ) from error


def _reason(accelerator: Accelerator, log: str, error: BaseException) -> str:
    """Return one line: what went wrong last, what had gone wrong first, and what the accelerator needs."""
    lines = accelerator.complaint.findall(log) + EFFECT.findall(str(error))
    found = [line.strip().rstrip(".").split(". ")[0] for line in lines]  # LiteRT's second sentence is its own advice
    if not found:
        return first_line(error)
    cause = f" ({found[0]})" if found[0] != found[-1] else ""
    if ADAPTER.search(log):
        return (
            f"{found[-1]}{cause}; irv2-inspect --delegate {accelerator.name.lower()} --bisect names the first operator"
        )
    return f"{found[-1]}{cause}; it needs {accelerator.needs}"


def _release(parts: list[Any]) -> None:
    """Let go of the buffers, then the model, then its environment, in silence: LiteRT announces their end."""
    with _output_captured():
        while parts:
            parts.pop()


@contextmanager
def _output_captured() -> Iterator[Callable[[], str]]:
    """Hide what native libraries print, and give a function that returns the text so far.

    This includes stdout: LiteRT prints one line there, which would end up in a command's JSON.
    """
    flush = ctypes.CDLL(None).fflush
    with tempfile.TemporaryFile() as file:

        def text() -> str:
            flush(None)
            written = os.pread(file.fileno(), MAX_LOG_BYTES, 0)  # `read` would move where the next line goes
            return written.decode(errors="replace")

        flush(None)
        with descriptors_redirected(file.fileno(), 1, 2):
            try:
                yield text
            finally:
                flush(None)


@cache
def _mute_last_words() -> None:
    """Silence stderr when Python exits, as LiteRT then announces the end of its own environment."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
