"""The only place that imports an interpreter: LiteRT or its predecessor tflite-runtime, behind one class.

The two share their Python interface; what differs is their name, their version and how they warn. What is asked
of whatever computes a network, here or in LiteRT's CompiledModel, is the protocol `AnyEngine`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime._graph_check import check_dataflow
from edge_runtime._mmap import release_pages, text_path
from edge_runtime.card import TensorSpec
from edge_runtime.errors import EngineError

AUTO = "auto"
ENGINES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}
"""Name on the command line -> (module, distribution), the preferred first."""

DELEGATE = "DELEGATE"
"""What an interpreter calls a node that stands for a partition it handed over."""


@dataclass(frozen=True)
class EngineChoice:
    """An installed interpreter: its name here, its version, and the module to import."""

    name: str
    version: str
    module: str


def choose_engine(name: str = AUTO) -> EngineChoice:
    """The interpreter called `name`, or with "auto" the first of `ENGINES` that is installed.

    Raises:
        EngineError: unknown name, or not installed.
    """
    if name != AUTO and name not in ENGINES:
        raise EngineError(f"engine {name!r} is unknown: choose {AUTO}, {' or '.join(ENGINES)}")
    for candidate in ENGINES if name == AUTO else [name]:
        module, distribution = ENGINES[candidate]
        if importlib.util.find_spec(module.split(".")[0]) is not None:
            return EngineChoice(candidate, _version(distribution), module)
    wanted = [ENGINES[name][1]] if name != AUTO else [distribution for _, distribution in ENGINES.values()]
    raise EngineError(f"engine {name} is not installed: pip install {' or '.join(wanted)}")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # copied onto the device, or built under another name
        return "of unknown version"


def import_interpreter(choice: EngineChoice) -> Any:
    """The interpreter class that was chosen.

    Raises:
        EngineError: it is installed, but does not fit this Python or this NumPy.
    """
    try:
        with native_chatter_silenced():
            return importlib.import_module(choice.module).Interpreter
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"{choice.name} {choice.version} cannot be imported ({first_line(error)}): "
            "reinstall it with the NumPy it wants, or pass another engine"
        ) from error


@dataclass(frozen=True)
class Placement:
    """How many of the network's operations a delegate took, and in how many partitions."""

    operations: int
    delegated: int
    partitions: int


class AnyEngine(Protocol):
    """Computes one model, for one thread at a time.

    Attributes:
        choice: which package computes, and its version.
        input, output: the ends of the model, read from its tensors.
        input_shape, output_shape: (1, height, width, channels) and (1, classes).
    """

    choice: EngineChoice
    input: TensorSpec
    output: TensorSpec
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def run(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output tensor for one input tensor, of the dtypes and shapes the ends name.

        Raises:
            EngineError: it fails.
        """


class Engine:
    """One interpreter over one model, for one thread at a time.

    Attributes:
        choice: which interpreter it is.
        input, output: the ends of the model, read from its tensors.
        input_shape, output_shape: (1, height, width, channels) and (1, classes).
        placement: what `delegate` took; None when this interpreter does not tell.
    """

    options: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, model: str | os.PathLike[str] | bytes, choice: EngineChoice, threads: int | None, delegate: Any = None
    ) -> None:
        """Load a model.

        Args:
            model: path of the file, which is mapped, or its content.
            choice: the interpreter to load it with.
            threads: None takes one a core.
            delegate: a `Plugin` that may take operations before XNNPACK does; None leaves all to the CPU.

        Raises:
            ArtifactError: the model's operators do not fit together.
            EngineError: the interpreter or the delegate refuses the model.
        """
        if threads is not None and threads < 1:
            raise EngineError(f"{threads} threads: pass at least 1")
        self.choice = choice
        interpreter = import_interpreter(choice)
        check_dataflow(model)
        try:
            with native_chatter_silenced(), warnings.catch_warnings(), model_arguments(model) as where:
                warnings.simplefilter("ignore")
                self._interpreter = interpreter(
                    **where,
                    **self.options,
                    num_threads=threads or os.cpu_count(),
                    experimental_delegates=None if delegate is None else [delegate],
                )
                self.placement = _placement(self._interpreter)  # now: XNNPACK takes what is left when memory is given
                self._interpreter.allocate_tensors()
                if not isinstance(model, bytes):
                    release_pages(model)
                self._inputs = self._interpreter.get_input_details()
                self._outputs = self._interpreter.get_output_details()
        except SystemError as error:  # what is left of an ImportError in the native library
            raise EngineError(
                f"{choice.name} {choice.version} does not work with NumPy {np.__version__}: "
                "pip install 'numpy<2', or pass another engine"
            ) from error
        except (ValueError, RuntimeError, TypeError) as error:
            raise EngineError(f"{choice.name} {choice.version} refuses the model: {first_line(error)}") from error
        if len(self._inputs) != 1 or len(self._outputs) != 1:
            raise EngineError(
                f"the model has {len(self._inputs)} inputs and {len(self._outputs)} outputs: "
                "an image classifier has one of each"
            )
        self.input, self.output = tensor_spec("image", self._inputs[0]), tensor_spec("probabilities", self._outputs[0])
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in self._inputs[0]["shape"])
        self.output_shape: tuple[int, ...] = tuple(int(n) for n in self._outputs[0]["shape"])

    def run(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output tensor for one input tensor, of the dtypes and shapes the ends name.

        Raises:
            EngineError: the interpreter fails.
        """
        try:
            self._interpreter.set_tensor(self._inputs[0]["index"], tensor)
            self._interpreter.invoke()
            return np.asarray(self._interpreter.get_tensor(self._outputs[0]["index"]))
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.choice.name} {self.choice.version} failed: {first_line(error)}") from error


@contextmanager
def model_arguments(model: str | os.PathLike[str] | bytes) -> Iterator[dict[str, str | bytes]]:
    """How an interpreter is told of a model: by the path of the file, or by its content."""
    if isinstance(model, bytes):
        yield {"model_content": model}
    else:
        with text_path(model) as path:
            yield {"model_path": path}


def _placement(interpreter: Any) -> Placement | None:
    """Count what stands behind the DELEGATE nodes of a graph; they come after the network's own, which stay listed."""
    try:
        nodes = interpreter._get_ops_details()
    except AttributeError:  # it is not part of the public interface
        return None
    own = [node for node in nodes if node["op_name"] != DELEGATE]
    partitions = [node for node in nodes if node["op_name"] == DELEGATE]
    maker = {int(tensor): node["index"] for node in own for tensor in node["outputs"]}
    inputs_of = {node["index"]: [int(tensor) for tensor in node["inputs"]] for node in own}
    taken: set[int] = set()
    for partition in partitions:
        given = {int(tensor) for tensor in partition["inputs"]}
        open_ends = [int(tensor) for tensor in partition["outputs"]]
        while open_ends:
            node = maker.get(tensor) if (tensor := open_ends.pop()) not in given else None
            if node is not None and node not in taken:
                taken.add(node)
                open_ends += inputs_of[node]
    return Placement(len(own), len(taken), len(partitions))


def tensor_spec(name: str, details: dict[str, Any]) -> TensorSpec:
    """One end of the network as the interpreter describes it."""
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"]).name
    if not scale:
        return TensorSpec(name, dtype)
    return TensorSpec(name, dtype, float(scale), int(zero_point))


@contextmanager
def native_chatter_silenced() -> Iterator[None]:
    """Keep what a native library logs about itself ("Created TensorFlow Lite XNNPACK delegate") off stderr."""
    try:
        kept = os.dup(2)
    except OSError:  # a daemon may have closed it
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def first_line(error: BaseException) -> str:
    """What a native library says first, of what may be many lines; the kind of error where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
