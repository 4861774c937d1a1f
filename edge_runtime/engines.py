"""The only module that imports an interpreter: LiteRT or its predecessor tflite-runtime, behind one class.

The two share their Python interface; they differ in name, version, and the warnings they print. `AnyEngine` is the
protocol of everything that computes a network: this class, and the one around LiteRT's CompiledModel.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple, Protocol

import numpy as np

from edge_runtime._graph_check import check_dataflow, compiled_operator
from edge_runtime._mmap import ModelFile, release_pages, utf8_path
from edge_runtime.arrays import Array
from edge_runtime.console import native_stderr_silenced
from edge_runtime.custom_operators import needs_hardware
from edge_runtime.errors import EngineError, first_line
from edge_runtime.specs import TensorSpec

AUTO = "auto"
ENGINES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}
"""Name on the command line -> (module, distribution), the preferred one first."""

UNRESOLVED = re.compile(r"unresolved custom op: (.+?)\.?$|\((Flex\w+)\) failed to prepare")
"""How interpreters name a custom operator, or one of TensorFlow's own, that neither they nor a delegate compute."""

DELEGATE = "DELEGATE"
"""The operator name of the node that replaces a partition handed to a delegate."""


class EngineChoice(NamedTuple):
    """An installed interpreter: its name here, its version, and the module to import."""

    name: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def choose_engine(name: str = AUTO) -> EngineChoice:
    """Return the interpreter called `name`, or for "auto" the first of `ENGINES` that is installed.

    Raises:
        EngineError: the name is unknown, or the interpreter is not installed.
    """
    if name != AUTO and name not in ENGINES:
        raise EngineError(f"engine {name!r} is unknown: choose {AUTO}, {' or '.join(ENGINES)}")
    candidates = ENGINES if name == AUTO else {name: ENGINES[name]}
    for candidate, (module, distribution) in candidates.items():
        package = importlib.util.find_spec(module.split(".")[0])
        if package is not None:
            return EngineChoice(candidate, _version(distribution, package), module)
    missing = " or ".join(distribution for _, distribution in candidates.values())
    raise EngineError(f"engine {name} is not installed: pip install {missing}")


def _version(distribution: str, package: ModuleSpec) -> str:
    """Return the version of a package, by the name of the folder that installers leave beside it, or of what is there.

    The standard library's way reads the file in that folder, and takes 25 ms to be imported.
    """
    named = re.compile(f"{distribution.replace('-', '[-_.]')}-(.+)[.]dist-info", re.IGNORECASE)
    for place in package.submodule_search_locations or ():
        with suppress(OSError):
            for found in filter(None, map(named.fullmatch, os.listdir(os.path.dirname(place)))):
                return found[1]
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version(distribution))
    except metadata.PackageNotFoundError:  # copied onto the device, or built under another name
        return "of unknown version"


def import_interpreter(choice: EngineChoice) -> Any:
    """Import the chosen interpreter and return its class.

    Raises:
        EngineError: it is installed, but does not work with this Python or this NumPy.
    """
    try:
        with native_stderr_silenced():
            return importlib.import_module(choice.module).Interpreter
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"{choice} cannot be imported ({first_line(error)}): "
            "reinstall it with a NumPy that it supports, or pass another engine"
        ) from error


PASSED, REMEMBERED = "passed", "remembered"


class Placement(NamedTuple):
    """How many of the network's operations a delegate took, and in how many partitions; None if that is unknown."""

    operations: int | None = None
    delegated: int | None = None
    partitions: int | None = None


@dataclass(frozen=True)
class Receipt:
    """What actually runs. Nothing in it is taken from a driver's claims about itself.

    Attributes:
        requested: the delegate that was asked for, with its options.
        active: the one that does the work: "cpu", or the requested one once it has answered the probe as the CPU does.
        engine, version: of the interpreter.
        device: "cpu", or the hardware as the active delegate names it; the delegate's name if it names none.
        library: path of the active delegate's plugin library; None without one.
        threads, workers: number of threads of each interpreter, number of interpreters.
        operations: of the network; None if the engine does not tell.
        delegated: how many of them the active delegate took; 0 on the CPU, None if the engine does not tell.
        partitions: into how many parts those were divided.
        probe_difference: largest difference between its probabilities and the CPU's on the probe; None on the CPU, and
            where nothing is known to compare with.
        fallback: why the requested delegate is not active; None if it is.
        warning: what to know about the requested delegate; None for most.
        remarks: what this runtime adds to a foreign model, such as a softmax behind its logits.
        unverified: why a comparison says nothing of the active delegate's answers, or there was none; else None.
        trial: of the active delegate, in a child process before it was loaded here: "passed", "remembered" (it passed
            before, and nothing has changed), or "impossible: " with the reason; None on the CPU.
        trial_ms: how many milliseconds that took.
    """

    requested: str
    active: str
    engine: str
    version: str
    device: str
    library: str | None
    threads: int
    workers: int
    operations: int | None
    delegated: int | None
    partitions: int | None
    probe_difference: float | None
    fallback: str | None
    warning: str | None
    remarks: tuple[str, ...] = ()
    unverified: str | None = None
    trial: str | None = None
    trial_ms: float | None = None


class AnyEngine(Protocol):
    """Computes one model, for one thread at a time.

    Attributes:
        choice: the package that computes, and its version.
        input, output: the model's tensors, as the interpreter describes them.
        input_shape, output_shape: (1, height, width, channels) and (1, classes).
        placement: what a delegate took.
        device: the hardware, in the driver's words; None if the engine does not know.
        remarks: what it adds to the model's answers, see `Receipt`.
    """

    choice: EngineChoice
    input: TensorSpec
    output: TensorSpec
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    placement: Placement
    device: str | None
    remarks: tuple[str, ...]

    def run(self, tensor: Array) -> Array:
        """Return the output tensor for one input tensor, of the above dtypes and shapes, or raise `EngineError`."""


class Engine:
    """One interpreter over one model, for one thread at a time; see `AnyEngine` for its attributes."""

    device: str | None = None
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        model: ModelFile,
        choice: EngineChoice,
        threads: int | None,
        options: Mapping[str, Any] | None = None,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        """Load a model.

        Args:
            model, choice: what to compute, by which interpreter.
            threads: None for one per core.
            options: further arguments for the interpreter's constructor; a `Plugin` among its
                `experimental_delegates` may take operations before XNNPACK does.
            input_shape: what to give to an input that takes images of any size; None leaves it as it is.

        Raises:
            ArtifactError: the model's operators do not fit together.
            EngineError: the interpreter or the delegate refuses the model.
        """
        if threads is not None and threads < 1:
            raise EngineError(f"{threads} threads: pass at least 1")
        self.choice = choice
        interpreter = import_interpreter(choice)
        operations = check_dataflow(model)
        if not options and (compiled := compiled_operator(model)) is not None:
            name = "the model" if isinstance(model, bytes) else os.fspath(model)
            raise EngineError(f"{name} {needs_hardware(compiled)}")
        with native_stderr_silenced(), refusals_reworded(choice), model_argument(model) as where:
            self._interpreter = interpreter(**where, **(options or {}), num_threads=threads or os.cpu_count())
            self.placement = Placement(operations, 0, 0)
            if options:  # they are asked for now: XNNPACK takes what is left when memory is allocated
                self.placement = _placement(self._interpreter)
            if input_shape is not None:
                index = self._interpreter.get_input_details()[0]["index"]
                self._interpreter.resize_tensor_input(index, list(input_shape))
            self._interpreter.allocate_tensors()
            if not isinstance(model, bytes):
                release_pages(model)
            image, answer = io_tensors(self._interpreter)
        self.input, self.input_shape, self._input_index = image
        self.output, self.output_shape, self._output_index = answer

    def run(self, tensor: Array) -> Array:
        """Return the output tensor for one input tensor; see `AnyEngine`."""
        try:
            self._interpreter.set_tensor(self._input_index, tensor)
            self._interpreter.invoke()
            return np.asarray(self._interpreter.get_tensor(self._output_index))
        except (ValueError, RuntimeError, IndexError) as error:
            raise EngineError(f"{self.choice} failed: {first_line(error)}") from error


IoTensor = tuple[TensorSpec, tuple[int, ...], int]
"""The only input or output of a model: its description, its shape, and its index in the interpreter."""


def io_tensors(interpreter: Any) -> tuple[IoTensor, IoTensor]:
    """Return a model's input and output as its interpreter describes them; raise `EngineError` if it has several."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        counts = " and ".join(
            f"{len(ends)} {noun}{'' if len(ends) == 1 else 's'}"
            for ends, noun in ((inputs, "input"), (outputs, "output"))
        )
        raise EngineError(f"the model has {counts}: an image classifier has one of each")
    return _io_tensor("image", inputs[0]), _io_tensor("probabilities", outputs[0])


def _io_tensor(name: str, details: dict[str, Any]) -> IoTensor:
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    is_integer = dtype.kind in "iu"  # a scale that was left on a tensor of floats means nothing
    affine = (float(scale), int(zero_point)) if scale and is_integer else (None, None)
    spec = TensorSpec(name, dtype.name, *affine)
    return spec, tuple(int(n) for n in details["shape"]), details["index"]


@contextmanager
def refusals_reworded(choice: EngineChoice) -> Iterator[None]:
    """Raise what an interpreter raises while it loads a model as `EngineError`, and show none of its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except SystemError as error:  # what is left of an ImportError in the native library
        raise EngineError(
            f"{choice} does not work with NumPy {np.__version__}: pip install 'numpy<2', or pass another engine"
        ) from error
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        reason = first_line(error)
        if unresolved := UNRESOLVED.search(reason):
            raise EngineError(
                f"{choice} has no operator {unresolved[1] or unresolved[2]}, and no delegate took it: pass --delegate "
                "with the library that computes it, or convert the model with built-in operators alone"
            ) from error
        raise EngineError(f"{choice} refuses the model: {reason}") from error


@contextmanager
def model_argument(model: ModelFile) -> Iterator[dict[str, str | bytes]]:
    """Name a model as an interpreter's constructor takes it: by the path of the file, or by its content."""
    if isinstance(model, bytes):
        yield {"model_content": model}
    else:
        with utf8_path(model) as path:
            yield {"model_path": path}


def _placement(interpreter: Any) -> Placement:
    """Count the operations behind the DELEGATE nodes, which follow the network's own nodes; those stay listed."""
    try:
        nodes = interpreter._get_ops_details()
    except AttributeError:  # it is not part of the public interface
        return Placement()
    own = [node for node in nodes if node["op_name"] != DELEGATE]
    partitions = [node for node in nodes if node["op_name"] == DELEGATE]
    producer = {int(tensor): node["index"] for node in own for tensor in node["outputs"]}
    inputs_of = {node["index"]: [int(tensor) for tensor in node["inputs"]] for node in own}
    taken: set[int] = set()
    for partition in partitions:
        given = {int(tensor) for tensor in partition["inputs"]}
        to_visit = [int(tensor) for tensor in partition["outputs"]]
        while to_visit:
            node = producer.get(tensor) if (tensor := to_visit.pop()) not in given else None
            if node is not None and node not in taken:
                taken.add(node)
                to_visit += inputs_of[node]
    return Placement(len(own), len(taken), len(partitions))
