"""LiteRT's own profiler, which Python's interface does not show: how long each operator inside XNNPACK takes.

Speaks to the C interface of the library in the wheel (litert/c/litert_profiler.h and the headers beside it, as of
ai-edge-litert 2.3.0), where a model compiled with `enable_profiling` records an event an operator.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ai_edge_litert

OPERATOR_EVENTS = (1 << 1, 1 << 3)
"""Event types: an operator of the interpreter, and one inside a delegate."""

CPU = 1
Handle = ctypes.c_void_p


@dataclass(frozen=True)
class Event:
    """One operator of one run: its name in LiteRT or XNNPACK, and whole microseconds."""

    name: str
    microseconds: int


class _Layout(ctypes.Structure):
    _fields_ = [("rank", ctypes.c_uint), ("dimensions", ctypes.c_int32 * 8), ("strides", ctypes.c_uint32 * 8)]


class _TensorType(ctypes.Structure):
    _fields_ = [("element", ctypes.c_int), ("layout", _Layout)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    ]


class ProfiledModel:
    """A model of one input and one output on the CPU, whose runs are recorded.

    Raises:
        RuntimeError: LiteRT refuses a call.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._bytes = model  # LiteRT reads it where it lies
        self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"))
        self._payloads: list[Any] = []
        environment = self._made("LiteRtCreateEnvironment", 0, None)
        size = ctypes.c_size_t(len(model))
        self._model = self._made("LiteRtCreateModelFromBuffer", environment, model, size)
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        self._add_option(options, b"xnnpack", f"num_threads = {threads}\n")
        self._add_option(options, b"runtime_options_string", "enable_profiling = true\n")
        self._compiled = self._made("LiteRtCreateCompiledModel", environment, self._model, options)
        self._ends = [(Handle * 1)(self._buffer(environment, end)) for end in ("Input", "Output")]
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)

    def run(self) -> None:
        """Compute once, on whatever the input holds."""
        first, one = ctypes.c_size_t(0), ctypes.c_size_t(1)
        self._call("LiteRtRunCompiledModel", self._compiled, first, one, self._ends[0], one, self._ends[1])

    def record(self, runs: int) -> list[list[Event]]:
        """The operators of each of so many runs, in the order of execution."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        for _ in range(runs):
            self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        recorded = (_Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, recorded)
        events = [Event(e.tag.decode(), e.elapsed_us) for e in recorded if e.type in OPERATOR_EVENTS]
        length = len(events) // runs
        return [events[start : start + length] for start in range(0, len(events), length)]

    def _buffer(self, environment: Handle, end: str) -> Handle:
        """Memory for the model's input or output."""
        first, kind = ctypes.c_size_t(0), _TensorType()
        needs = self._made(f"LiteRtGetCompiledModel{end}BufferRequirements", self._compiled, first, first)
        signature = self._made("LiteRtGetModelSignature", self._model, first)
        tensor = self._made(f"LiteRtGetSignature{end}TensorByIndex", signature, first)
        self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(kind))
        return self._made("LiteRtCreateManagedTensorBufferFromRequirements", environment, ctypes.byref(kind), needs)

    def _add_option(self, options: Handle, name: bytes, toml: str) -> None:
        """Options travel as TOML; LiteRT would free the text itself, so it is handed an end that does nothing."""
        text, keep = ctypes.create_string_buffer(toml.encode()), ctypes.CFUNCTYPE(None, Handle)(lambda _: None)
        self._payloads += [text, keep]
        self._call("LiteRtAddOpaqueOptions", options, self._made("LiteRtCreateOpaqueOptions", name, text, keep))

    def _made(self, function: str, *arguments: Any) -> Handle:
        """What a function writes to its last argument."""
        made = Handle()
        self._call(function, *arguments, ctypes.byref(made))
        return made

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise RuntimeError(f"{function} fails with status {status}: the headers of another LiteRT may differ")
