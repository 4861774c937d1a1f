"""LiteRT's CompiledModel behind the face of an `Engine`: the way to the GPU and the NPU.

It is asked for one accelerator alone, never together with the CPU: then LiteRT refuses a model with an operator that
the accelerator cannot compute, in place of leaving a part of it, or all, to the CPU without a word.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime._graph_check import check_dataflow
from edge_runtime._mmap import text_path
from edge_runtime.engines import EngineChoice, first_line, import_interpreter, model_arguments, tensor_spec
from edge_runtime.errors import EngineError

MODULE = "ai_edge_litert.compiled_model"
SIGNATURE = 0
MAX_LOG_BYTES = 2**20
ADAPTER = re.compile(r"Selected adapter: (?P<name>.*?), arch=.*adapterType=(?P<kind>.*)")
EFFECT = re.compile(r"^└ (?!ERROR)(.+)$", re.MULTILINE)
"""The lines of LiteRT's own exceptions that say more than where in its source they were raised."""


@dataclass(frozen=True)
class Accelerator:
    """LiteRT's name of an accelerator, which printed lines tell why it cannot be used, and what it needs."""

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
        re.compile(r"^└ (Could not load shared library .+)$", re.MULTILINE),
        "the vendor's runtime beside LiteRT's plugin for it",
    ),
}


class CompiledEngine:
    """One model compiled for one accelerator, for one thread at a time.

    Attributes:
        choice: the LiteRT that compiled it.
        input, output: the ends of the model, read from its tensors.
        input_shape, output_shape: (1, height, width, channels) and (1, classes).
        device: what the driver calls the hardware, and its kind; the accelerator's name where LiteRT does not tell.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes, choice: EngineChoice, accelerator: str) -> None:
        """Compile a model.

        Args:
            model: path of the file, or its content.
            choice: an installed LiteRT.
            accelerator: "gpu" or "npu".

        Raises:
            ArtifactError: the model's operators do not fit together.
            EngineError: no such accelerator here, or it cannot compute this model.
        """
        if accelerator not in ACCELERATORS:
            raise EngineError(f"accelerator {accelerator!r} is unknown: choose {' or '.join(ACCELERATORS)}")
        check_dataflow(model)
        self.choice = choice
        self._parts: list[Any] = []
        weakref.finalize(self, _release, self._parts)
        with _output_captured() as log:
            module = _import(choice)
            self._read_ends(model)
            failure = self._try_to_compile(module, model, ACCELERATORS[accelerator], log)
            if failure is not None:
                _release(self._parts)
                raise EngineError(
                    f"{choice.name} {choice.version} cannot run the model on the {accelerator}: {failure}"
                )
            adapter = ADAPTER.search(log())
        self.device = f"{adapter['name']}, {adapter['kind'].strip()}" if adapter else accelerator

    def _try_to_compile(
        self, module: Any, model: str | os.PathLike[str] | bytes, accelerator: Accelerator, log: Callable[[], str]
    ) -> str | None:
        """The reason of a failure, and not its exception: that would keep LiteRT's objects alive."""
        try:
            self._compile(module, model, accelerator.name)
        except (ValueError, RuntimeError) as error:
            return _reason(accelerator, log(), error)
        return None

    def _compile(self, module: Any, model: str | os.PathLike[str] | bytes, accelerator: str) -> None:
        environment = module.Environment.create()
        self._parts.append((environment, model))  # a buffer is not copied
        how = {"hardware_accel": module.HardwareAccelerator[accelerator], "environment": environment}
        if isinstance(model, bytes):
            compiled = module.CompiledModel.from_buffer(model, **how)
        else:
            with text_path(model) as path:
                compiled = module.CompiledModel.from_file(path, **how)
        self._parts.append(compiled)
        (image,), (answer,) = compiled.create_input_buffers(SIGNATURE), compiled.create_output_buffers(SIGNATURE)
        self._parts += [image, answer]
        _mute_last_words()
        image.write(np.zeros(self.input_shape, self.input.dtype))  # the first write is the one that prints

    def _read_ends(self, model: str | os.PathLike[str] | bytes) -> None:
        """From an interpreter that is given no memory: a CompiledModel does not tell scales and zero points."""
        try:
            with model_arguments(model) as where:
                interpreter = import_interpreter(self.choice)(**where)
        except (ValueError, RuntimeError, TypeError) as error:
            raise EngineError(
                f"{self.choice.name} {self.choice.version} refuses the model: {first_line(error)}"
            ) from error
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs: an image classifier has one of each"
            )
        self.input, self.output = tensor_spec("image", inputs[0]), tensor_spec("probabilities", outputs[0])
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in inputs[0]["shape"])
        self.output_shape: tuple[int, ...] = tuple(int(n) for n in outputs[0]["shape"])

    def run(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output tensor for one input tensor, of the dtypes and shapes the ends name.

        Reading waits for the accelerator: it works on after LiteRT's own `run` has returned.

        Raises:
            EngineError: the accelerator fails, or the tensor is not what the model takes.
        """
        name = f"{self.choice.name} {self.choice.version}"
        if tensor.shape != self.input_shape or tensor.dtype != self.input.dtype:  # LiteRT takes any that is not larger
            raise EngineError(
                f"{name} failed: the model takes {self.input.dtype} {self.input_shape}, "
                f"this is {tensor.dtype} {tensor.shape}"
            )
        _, compiled, image, answer = self._parts
        try:
            image.write(np.ascontiguousarray(tensor))
            compiled.run_by_index(SIGNATURE, [image], [answer])
            values = answer.read(int(np.prod(self.output_shape)), np.dtype(self.output.dtype).type)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{name} failed on {self.device}: {first_line(error)}") from error
        return np.asarray(values).reshape(self.output_shape)


def _import(choice: EngineChoice) -> Any:
    if choice.name != "litert":
        raise EngineError(f"engine {choice.name} has no way to a GPU or an NPU but a plugin library: use engine litert")
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        raise EngineError(
            f"{choice.name} {choice.version} has no CompiledModel ({first_line(error)}): "
            "pip install --upgrade ai-edge-litert ml_dtypes"
        ) from error


def _reason(accelerator: Accelerator, log: str, error: BaseException) -> str:
    """What went wrong last, what had gone wrong first, and what the accelerator needs; one line."""
    lines = accelerator.complaint.findall(log) + EFFECT.findall(str(error))
    found = [line.strip().rstrip(".").split(". ")[0] for line in lines]  # LiteRT's second sentence is its own advice
    if not found:
        return first_line(error)
    cause = f" ({found[0]})" if found[0] != found[-1] else ""
    return f"{found[-1]}{cause}; it needs {accelerator.needs}"


def _release(parts: list[Any]) -> None:
    """Let go of the buffers, then the model, then its environment, in silence: LiteRT announces their end."""
    with _output_captured():
        while parts:
            parts.pop()


@contextmanager
def _output_captured() -> Iterator[Callable[[], str]]:
    """What native libraries print meanwhile is not shown; the function gives the text so far.

    On stdout too: one line of LiteRT goes there, and would end up between the JSON of a command.
    """
    flush = ctypes.CDLL(None).fflush
    with tempfile.TemporaryFile() as file:

        def text() -> str:
            flush(None)
            written = os.pread(file.fileno(), MAX_LOG_BYTES, 0)  # reading would move where the next line goes
            return written.decode(errors="replace")

        flush(None)
        kept = {stream: os.dup(stream) for stream in (1, 2) if _is_open(stream)}
        try:
            for stream in kept:
                os.dup2(file.fileno(), stream)
            yield text
        finally:
            flush(None)
            for stream, original in kept.items():
                os.dup2(original, stream)
                os.close(original)


def _is_open(stream: int) -> bool:
    """A daemon may have closed it."""
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True


@cache
def _mute_last_words() -> None:
    """LiteRT has an environment of its own, which announces its end when Python's has come."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
