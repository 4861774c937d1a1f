"""Delegates: what can compute a network besides the CPU, and the check that it computes it correctly.

A delegate is trusted for its answers, not for what it reports. Each one is loaded, given the probe, and compared with
the CPU; if anything goes wrong until then, the CPU takes over, and the receipt holds the reason.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_runtime.artifact import Model
from edge_runtime.console import native_stderr_silenced
from edge_runtime.custom_operators import COMPILED, needs_hardware
from edge_runtime.engines import AnyEngine, Engine, EngineChoice, Receipt
from edge_runtime.errors import DelegateError, EngineError
from edge_runtime.foreign import ForeignEngine
from edge_runtime.plugin import Plugin
from edge_runtime.probe import IMAGE, INT8_SCHEMES, LOGIT_TOLERANCES, Probe, answer_probe
from edge_runtime.tensors import Probabilities

CPU = "cpu"
UNVERIFIED = "no answer is known to compare with: {}, and the CPU cannot compute the model"
CERTAIN = "the expected answer to the probe is all 0 and 1, which a wrong computation may give, too"
LIBRARY = "library"
"""The one option that we read: the path of the plugin library. All others go to the delegate."""


@dataclass(frozen=True)
class DelegateKind:
    """How a delegate that has a name is found and run.

    Attributes:
        libraries: file names of its plugin library, looked for in the system's library folders in this order.
        variable: environment variable that may hold the absolute path of the library instead.
        advice: what to do if there is no library.
        accelerator: of LiteRT's CompiledModel, tried first; None if only a plugin will do.
        options: whether the plugin takes options.
        warning: shown to everyone who asks for it.
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
"""Name on the command line -> how it is found and run. "cpu" needs no row, and "auto" is resolved by the caller."""

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
"""Where libraries are looked for if no path is given: never in the working directory, nor beside the model."""


@dataclass(frozen=True)
class DelegateRequest:
    """A delegate as a user asks for it: "nnapi", "./libvx_delegate.so:cache=/tmp,device=0".

    Attributes:
        text: as it was written.
        name: "cpu", a key of `DELEGATES`, or the path of a plugin library.
        options: passed to the plugin, except for `LIBRARY`.
    """

    text: str
    name: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> DelegateRequest:
        """Read `NAME[:key=value,...]`.

        Raises:
            DelegateError: there is no such delegate, or it takes no options and was given some.
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
        """Return how it is found and run; None for the CPU and for paths."""
        return DELEGATES.get(self.name)


def _is_path(name: str) -> bool:
    return bool(os.path.dirname(name)) or re.search(r"\.(so(\.\d+)*|dylib|dll)$", name) is not None


@dataclass(frozen=True)
class Opened:
    """Engines, one for each worker, and how they came to be trusted.

    Attributes:
        library: the delegate's plugin library; None without one.
        difference, unverified: see `Receipt`.
    """

    engines: list[AnyEngine]
    library: Path | None = None
    difference: float | None = None
    unverified: str | None = None


def open_engines(
    model: Model, request: DelegateRequest, choice: EngineChoice, threads: int, workers: int, strict: bool = False
) -> tuple[list[AnyEngine], Receipt]:
    """Open an engine for each worker, on the requested delegate if it passes the probe, or else on the CPU.

    Each engine has `threads` threads.

    Raises:
        DelegateError: the delegate cannot be used, and `strict` or the model forbids the CPU.
        EngineError: the CPU cannot compute the model either.
    """

    def on_cpu() -> AnyEngine:
        return Engine(model.path, choice, threads, None, model.input_shape)

    opened, fallback = None, None
    if request.name != CPU:
        try:
            opened = _open_delegate(model, request, choice, threads, workers, on_cpu)
        except EngineError as error:
            fallback = f"delegate {request.text} cannot be used: {error}"
            if strict or model.compiled_operator is not None:
                raise DelegateError(fallback) from error
    active = CPU if opened is None else request.name
    if opened is None:
        try:
            settled = model.settled(on_cpu)
            opened = Opened([settled.adapted(on_cpu()) for _ in range(workers)])
        except EngineError as error:
            reasons = (fallback, None if str(error) in (fallback or "") else str(error))
            raise EngineError("; and without it ".join(filter(None, reasons))) from error
    engine = opened.engines[0]
    return opened.engines, Receipt(
        requested=request.text,
        active=active,
        engine=engine.choice.name,
        version=engine.choice.version,
        device=engine.device or active,
        library=None if opened.library is None else os.fspath(opened.library),
        threads=threads,
        workers=workers,
        **engine.placement._asdict(),
        probe_difference=opened.difference,
        fallback=fallback,
        warning=None if request.kind is None else request.kind.warning,
        remarks=engine.remarks if isinstance(engine, ForeignEngine) else (),
        unverified=opened.unverified,
    )


def _open_delegate(
    model: Model,
    request: DelegateRequest,
    choice: EngineChoice,
    threads: int,
    workers: int,
    on_cpu: Callable[[], AnyEngine],
) -> Opened:
    """Open an engine for each worker on the delegate, and compare its answer to the probe with what is expected.

    Raises:
        EngineError: the delegate cannot be used; the message says why.
    """
    compiled = model.compiled_operator
    if compiled is not None and request.kind is not None and request.name != COMPILED[compiled].delegate:
        raise DelegateError(f"{model.path} {needs_hardware(compiled, request.name)}")
    make, library = _engine_factory(model, request, choice, threads)
    model, probe, unverified = _expectation(model, on_cpu, make)
    engines, differences = [], []
    for _ in range(workers):
        with native_stderr_silenced():
            engine = model.adapted(make())
            if engine.placement.delegated == 0:
                raise DelegateError(f"it takes none of the model's {engine.placement.operations} operations")
            model.check_io_tensors(engine)
            image = IMAGE if probe is None else probe.image
            answer = answer_probe(engine, model.spec, model.input_tensor(engine), image)
        engines.append(engine)
        if probe is not None:
            differences.append(_difference(model, probe, answer, engine))
            unverified = CERTAIN if probe.is_certain(engine.output.scale or 0.0) else None
        elif not np.isfinite(answer).all():
            raise DelegateError("its probabilities are not finite on the probe")
    return Opened(engines, library, max(differences, default=None), unverified)


def _expectation(
    model: Model, on_cpu: Callable[[], AnyEngine], on_delegate: Callable[[], AnyEngine]
) -> tuple[Model, Probe | None, str | None]:
    """Return the model, settled, and the probe's answer: of the card, or else of the CPU.

    If there is none, because the CPU cannot compute the model, the reason comes instead of it.
    """
    if model.artifact is not None and model.artifact.card.probe is not None:
        return model, model.artifact.card.probe, None
    try:
        settled = model.settled(on_cpu)
        engine = settled.adapted(on_cpu())
        settled.check_io_tensors(engine)
        return settled, Probe.of(engine, settled.spec, settled.input_tensor(engine)), None
    except EngineError:
        with native_stderr_silenced():
            missing = "there is no card" if model.artifact is None else "the card has none"
            return model.settled(on_delegate), None, UNVERIFIED.format(missing)


def _difference(model: Model, probe: Probe, answer: Probabilities, engine: AnyEngine) -> float:
    """Return the largest difference in a probability; raise `DelegateError` if it or the logits' is too large."""
    is_int8 = model.artifact is not None and model.artifact.card.scheme in INT8_SCHEMES
    dtype = "int8" if is_int8 else engine.input.dtype
    difference, allowed = probe.difference(answer), probe.tolerance(dtype, model.head)
    if not difference <= allowed:  # also if it is NaN
        raise DelegateError(
            f"its probabilities differ from the CPU's by {difference:.4g} on the probe, more than {allowed:.4g}"
        )
    error = probe.logit_error(answer, engine.output.scale or 0.0, model.head)
    most = LOGIT_TOLERANCES[dtype]
    if not error <= most:
        raise DelegateError(f"its logits are off by {error:.2g} of their size on the probe, more than {most:.2g}")
    return difference


def _engine_factory(
    model: Model, request: DelegateRequest, choice: EngineChoice, threads: int
) -> tuple[Callable[[], AnyEngine], Path | None]:
    """Return what makes an engine on the requested delegate, and the plugin library that it loads."""
    kind = request.kind
    accelerator = None if kind is None or kind.variable in os.environ else kind.accelerator
    if accelerator is not None and LIBRARY not in request.options and choice.name == "litert":
        from edge_runtime.compiled import CompiledEngine

        if model.input_shape is not None:
            raise DelegateError(f"{model.path} leaves its input open: export it for one image of one size")
        return lambda: CompiledEngine(model.path, choice, accelerator), None
    library = find_library(request)
    if not library.exists():
        raise DelegateError(f"{library} cannot be loaded: No such file or directory; {_library_advice(kind)}")
    options = {key: value for key, value in request.options.items() if key != LIBRARY}

    def on_plugin() -> AnyEngine:
        plugins = {"experimental_delegates": [Plugin(library, options)]}
        return Engine(model.path, choice, threads, plugins, model.input_shape)

    return on_plugin, library


def find_library(request: DelegateRequest) -> Path:
    """Return the plugin library: from the request, the environment or the system's library folders, in this order.

    Raises:
        DelegateError: there is none; the message says what to do.
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
    for library in (Path(folder, name) for folder in SYSTEM_FOLDERS for name in names):
        if os.path.isfile(library):
            return library
    raise DelegateError(f"no {' or '.join(names)} in the system's library folders: {_library_advice(kind)}")


def _library_advice(kind: DelegateKind | None) -> str:
    """Return where a plugin library comes from."""
    if kind is None:
        return "get it from the hardware's vendor, and pass its path"
    return f"{kind.advice}, or set {kind.variable} to the path of a plugin library"
