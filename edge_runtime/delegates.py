"""Delegates: what can compute a network besides the CPU, how a user asks for it, and where its library is."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge_runtime.errors import DelegateError

CPU = "cpu"
LIBRARY = "library"
"""The one option that we read: the path of the plugin library. All others go to the delegate."""


class DelegateKind(NamedTuple):
    """How a delegate that has a name is found and run.

    Attributes:
        libraries: file names of its plugin library, looked for in the system's library folders in this order; none if
            only an accelerator will do.
        variable: environment variable that may hold the absolute path of the library instead; "" without one.
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
    "npu": DelegateKind(
        libraries=(),
        variable="",
        advice="use engine litert, version 2 or later, whose CompiledModel has plugins of the vendors",
        accelerator="npu",
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
    raise DelegateError(f"no {' or '.join(names)} in the system's library folders: {library_advice(kind)}")


def library_advice(kind: DelegateKind | None) -> str:
    """Return where a plugin library comes from."""
    if kind is None:
        return "get it from the hardware's vendor, and pass its path"
    return f"{kind.advice}, or set {kind.variable} to the path of a plugin library"
