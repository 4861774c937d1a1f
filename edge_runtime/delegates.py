"""Delegates: what else than the CPU may compute a network, and the proof that it computes it rightly.

A delegate is trusted by what it answers, not by what it says. Every one is loaded, asked for the probe, and
compared with the CPU; until then anything that goes wrong leads back to the CPU, with the reason in the receipt.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.engines import AnyEngine, Engine, EngineChoice, Placement, native_chatter_silenced
from edge_runtime.errors import DelegateError, EngineError
from edge_runtime.probe import LOGIT_TOLERANCES, Probe
from edge_runtime.receipt import Receipt

CPU = "cpu"
COMPILED = "edge_runtime.compiled"
LIBRARY = "library"
"""The one option that is ours: the path of the plugin library. All others go to the delegate."""


@dataclass(frozen=True)
class DelegateKind:
    """How a delegate that has a name is found and run.

    Attributes:
        libraries: file names of its plugin library, looked for in the system's library folders in this order.
        variable: environment variable that may hold the absolute path of the library instead.
        accelerator: of LiteRT's CompiledModel, tried first; None for plugins alone.
        options: whether the plugin may be given options.
        advice: what to do when there is no library.
        warning: what whoever asks for it should know.
    """

    libraries: tuple[str, ...]
    variable: str
    advice: str
    accelerator: str | None = None
    options: bool = True
    warning: str | None = None


DELEGATES = {
    "gpu": DelegateKind(
        libraries=("libtensorflowlite_gpu_delegate.so", "libtensorflowlite_gpu_delegate.dylib"),
        variable="IRV2_GPU_LIBRARY",
        advice="install ai-edge-litert 2 or later, whose CompiledModel needs none",
        accelerator="gpu",
        options=False,  # upstream's plugin swaps the values it is given
    ),
    "nnapi": DelegateKind(
        libraries=("libnnapi_delegate.so", "libnnapi_external_delegate.so"),
        variable="IRV2_NNAPI_LIBRARY",
        advice="no interpreter for Python contains NNAPI: get a plugin library from the vendor of the device",
        warning="NNAPI is deprecated since Android 15, and new devices may have no driver for it: prefer gpu or cpu",
    ),
    "edgetpu": DelegateKind(
        libraries=("libedgetpu.so.1", "libedgetpu.1.dylib", "edgetpu.dll"),
        variable="IRV2_EDGETPU_LIBRARY",
        advice="install Coral's libedgetpu1-std",
    ),
    "qnn": DelegateKind(
        libraries=("libQnnTFLiteDelegate.so", "QnnTFLiteDelegate.dll"),
        variable="IRV2_QNN_LIBRARY",
        advice="install Qualcomm's AI Engine Direct SDK",
    ),
}
"""Name on the command line -> how it is found and run. "cpu" needs neither, "auto" is resolved by the caller."""

MULTIARCH = getattr(sys.implementation, "_multiarch", "")
SYSTEM_FOLDERS = (
    "/usr/local/lib",
    f"/usr/lib/{MULTIARCH}",
    "/usr/lib64",
    "/usr/lib",
    f"/lib/{MULTIARCH}",
    "/lib64",
    "/lib",
    "/vendor/lib64",
    "/vendor/lib",
    "/system/lib64",
    "/system/lib",
    "/opt/homebrew/lib",
)
"""Where libraries are looked for, if no path is given: never in the working directory, nor beside the model."""


@dataclass(frozen=True)
class DelegateRequest:
    """What was asked for: "nnapi", "./libvx_delegate.so:cache=/tmp,device=0".

    Attributes:
        text: as it was written.
        name: "cpu", a key of `DELEGATES`, or the path of a plugin library.
        options: handed to the plugin, except for `LIBRARY`.
    """

    text: str
    name: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> DelegateRequest:
        """Read `NAME[:key=value,...]`.

        Raises:
            DelegateError: no such delegate, or one that takes no options is given some.
        """
        name, _, tail = re.fullmatch(r"(.*?)(:([\w.-]+=.*))?", text, re.DOTALL).groups()  # type: ignore[union-attr]
        pairs = re.split(r",(?=[\w.-]+=)", tail) if tail else []
        options = dict(pair.split("=", 1) for pair in pairs)
        if name != CPU and name not in DELEGATES and not _is_path(name):
            raise DelegateError(
                f"delegate {name!r} is unknown: choose {CPU}, {', '.join(DELEGATES)}, or the path of a plugin library"
            )
        takes = DELEGATES[name].options if name in DELEGATES else name != CPU
        if not takes and set(options) - ({LIBRARY} if name in DELEGATES else set()):
            raise DelegateError(f"delegate {name} takes no options, not {tail!r}: leave them out")
        return cls(text, name, options)

    @property
    def kind(self) -> DelegateKind | None:
        """How it is found, for one that has a name."""
        return DELEGATES.get(self.name)


@dataclass(frozen=True)
class Task:
    """What is to be computed, by which package, and how well the results have to agree.

    Attributes:
        model: path of the file, which is mapped, or its content.
        choice: the interpreter.
        threads: of each interpreter; None takes one a core.
        workers: how many interpreters.
        ask: gives the float32 (classes,) with which an engine answers the probe.
        probe: what the CPU answers; None asks it.
    """

    model: str | os.PathLike[str] | bytes
    choice: EngineChoice
    threads: int | None
    workers: int
    ask: Callable[[AnyEngine], npt.NDArray[np.float32]]
    probe: Probe | None

    def on_cpu(self) -> list[AnyEngine]:
        """As many engines as there are workers, all of them on the CPU."""
        return [Engine(self.model, self.choice, self.threads) for _ in range(self.workers)]


class Plugin:
    """A native delegate made by a plugin library; an interpreter takes it as one of its `experimental_delegates`.

    In place of the packages' own loader, which after a failure destroys what was never created.
    """

    def __init__(self, library: Path, options: dict[str, str]) -> None:
        """Load the library and let it create its delegate.

        Raises:
            DelegateError: the file is missing, is no library or no delegate, or refuses.
        """
        self._delegate, messages = None, []
        report_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
        report = report_type(lambda message: messages.append((message or b"").decode(errors="replace")))
        strings = ctypes.c_char_p * len(options)
        keys, values = strings(*map(os.fsencode, options)), strings(*map(os.fsencode, options.values()))
        try:
            with native_chatter_silenced():
                native = ctypes.CDLL(os.fspath(library))
                create, self._destroy = native.tflite_plugin_create_delegate, native.tflite_plugin_destroy_delegate
                create.restype, self._destroy.restype = ctypes.c_void_p, None
                create.argtypes = [type(keys), type(values), ctypes.c_size_t, report_type]
                self._destroy.argtypes = [ctypes.c_void_p]
                self._delegate = create(keys, values, len(options), report)
        except (OSError, ValueError) as error:
            raise DelegateError(f"{library} cannot be loaded: {error}") from error
        except AttributeError as error:
            raise DelegateError(f"{library} is not a delegate: {error}") from error
        if self._delegate is None:
            raise DelegateError(f"{library} refuses: {' '.join(' '.join(messages).split()) or 'it does not say why'}")

    def _get_native_delegate_pointer(self) -> int | None:
        """What an interpreter asks for; it holds on to this object as long as it lives."""
        return self._delegate

    def __del__(self) -> None:
        if self._delegate is not None:
            self._destroy(self._delegate)


@dataclass(frozen=True)
class Proven:
    """Engines whose delegate answered the probe as the CPU does.

    Attributes:
        engines: one for each worker.
        library: of the plugin; None for a CompiledModel.
        difference: the largest of their answers to the CPU's.
    """

    engines: list[AnyEngine]
    library: Path | None
    difference: float


def open_engines(
    task: Task, request: DelegateRequest, strict: bool = False, requested: str | None = None
) -> tuple[list[AnyEngine], Receipt]:
    """Engines for all workers, on the requested delegate if it proves itself and on the CPU if not.

    Args:
        task: what to compute.
        request: the delegate.
        strict: raise instead of falling back.
        requested: what the receipt calls the request, where that is not `request.text`.

    Raises:
        DelegateError: the delegate cannot be used, and `strict` forbids the CPU.
        EngineError: the CPU cannot compute the model either.
    """
    asked = requested or request.text
    if request.name == CPU:
        engines = task.on_cpu()
        return engines, _receipt(task, asked, request, engines[0])
    try:
        proven = prove(task, request)
    except EngineError as error:
        reason = f"delegate {request.text} cannot be used: {error}"
    else:
        return proven.engines, _receipt(task, asked, request, proven.engines[0], proven=proven)
    if strict:
        raise DelegateError(reason)
    engines = task.on_cpu()
    return engines, _receipt(task, asked, request, engines[0], fallback=reason)


def prove(task: Task, request: DelegateRequest) -> Proven:
    """Load the delegate for every worker, ask it for the probe, and compare.

    Raises:
        EngineError: the reason why it cannot be used.
    """
    make, library = _maker(task, request)
    probe = task.probe or Probe.of(task.ask(Engine(task.model, task.choice, task.threads)))
    engines: list[AnyEngine] = []
    differences = []
    for _ in range(task.workers):
        with native_chatter_silenced():
            engine = make()
            placement = _placement_of(engine)
            if placement is not None and not placement.delegated:
                raise DelegateError(f"it takes none of the model's {placement.operations} operations")
            answer = task.ask(engine)
        difference, allowed = probe.difference(answer), probe.tolerance(engine.input.dtype)
        if not difference <= allowed:  # also when it is NaN
            raise DelegateError(
                f"its probabilities differ from the CPU's by {difference:.4g} on the probe, more than {allowed:.4g}"
            )
        error, most = probe.logit_error(answer, engine.output.scale or 0.0), LOGIT_TOLERANCES[engine.input.dtype]
        if not error <= most:
            raise DelegateError(f"its logits are off by {error:.2g} of their size on the probe, more than {most:.2g}")
        engines.append(engine)
        differences.append(difference)
    return Proven(engines, library, max(differences))


def find_library(request: DelegateRequest) -> Path:
    """The plugin library: from the request, the environment or the system's library folders, in this order.

    Raises:
        DelegateError: there is none, with what to do about it.
    """
    kind = request.kind
    if LIBRARY in request.options:
        return Path(request.options[LIBRARY]).absolute()
    if kind is None and os.path.dirname(request.name):
        return Path(request.name).absolute()
    if kind is not None and kind.variable in os.environ:
        library = Path(os.environ[kind.variable])
        if not library.is_absolute():
            raise DelegateError(f"{kind.variable} is {str(library)!r}: set it to the absolute path of a plugin library")
        return library
    names = kind.libraries if kind is not None else (request.name,)
    for folder in SYSTEM_FOLDERS:
        for name in names:
            if os.path.isfile(os.path.join(folder, name)):
                return Path(folder, name)
    looked = f"no {' or '.join(names)} in the system's library folders"
    if kind is None:
        raise DelegateError(f"{looked}: pass its path")
    raise DelegateError(f"{looked}: {kind.advice}, or set {kind.variable} to the path of a plugin library")


def _maker(task: Task, request: DelegateRequest) -> tuple[Callable[[], AnyEngine], Path | None]:
    """What makes an engine on the requested delegate, and the library that it takes."""
    kind = request.kind
    if kind is not None and kind.accelerator is not None and not _names_library(request, kind):
        compiled = _compiled_engine(task.choice)
        if compiled is not None:
            return lambda: compiled(task.model, task.choice, kind.accelerator), None
    library = find_library(request)
    options = {key: value for key, value in request.options.items() if key != LIBRARY}
    return lambda: Engine(task.model, task.choice, task.threads, Plugin(library, options)), library


def _names_library(request: DelegateRequest, kind: DelegateKind) -> bool:
    return LIBRARY in request.options or kind.variable in os.environ


def _compiled_engine(choice: EngineChoice) -> Callable[..., AnyEngine] | None:
    """The engine around LiteRT's CompiledModel; None where this engine or this installation has none."""
    if choice.name != "litert":
        return None
    try:
        with native_chatter_silenced():
            engine: Callable[..., AnyEngine] = import_module(COMPILED).CompiledEngine
            return engine
    except ImportError:
        return None


def _placement_of(engine: AnyEngine) -> Placement | None:
    placement: Placement | None = getattr(engine, "placement", None)
    return placement


def _receipt(
    task: Task,
    requested: str,
    request: DelegateRequest,
    engine: AnyEngine,
    proven: Proven | None = None,
    fallback: str | None = None,
) -> Receipt:
    placement, library = _placement_of(engine), None if proven is None else proven.library
    active = CPU if proven is None else request.name
    return Receipt(
        requested=requested,
        active=active,
        engine=engine.choice.name,
        version=engine.choice.version,
        device=str(getattr(engine, "device", active)),
        library=None if library is None else os.fspath(library),
        threads=task.threads or os.cpu_count() or 1,
        workers=task.workers,
        operations=None if placement is None else placement.operations,
        delegated=None if placement is None else placement.delegated,
        partitions=None if placement is None else placement.partitions,
        probe_difference=None if proven is None else proven.difference,
        fallback=fallback,
        warning=None if request.kind is None else request.kind.warning,
    )


def _is_path(name: str) -> bool:
    return bool(os.path.dirname(name)) or re.search(r"\.(so(\.\d+)*|dylib|dll)$", name) is not None
