"""A part of a model on a delegate, in a child process: what it answers, or what became of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.delegates import LIBRARY
from edge_runtime.delegation import ANSWERING, LOADING, Delegation
from edge_runtime.engines import import_interpreter, refusals_reworded
from edge_runtime.isolation import find_python, run_isolated
from edge_runtime.plugin import Plugin

MODEL, GIVEN, MADE = "part.tflite", "given.npz", "made.npz"


@dataclass(frozen=True)
class CutRun:
    """A delegate, and the folder with the part of a model that it is to compute, and its inputs."""

    delegation: Delegation
    folder: Path


def compute_on(delegation: Delegation, model: bytes, inputs: Sequence[Array]) -> list[Array]:
    """Return the outputs of a flatbuffer, computed on a delegate in a child process.

    Raises:
        EngineError: the delegate refuses it or fails, or takes down the child.
    """
    interpreter = find_python()
    assert interpreter is not None
    with tempfile.TemporaryDirectory(prefix="irv2-") as name:
        folder = Path(name)
        (folder / MODEL).write_bytes(model)
        np.savez(folder / GIVEN, *inputs)
        run_isolated(interpreter, __name__, CutRun(delegation, folder), folder / MODEL)
        return _arrays(folder / MADE)


def do(job: CutRun, begin: Callable[[str], object]) -> None:
    """Compute a part of a model, and write what it answers into the folder; see `isolation.run_isolated`."""
    inputs = _arrays(job.folder / GIVEN)
    begin(LOADING)
    compute = _on_accelerator(job) if job.delegation.accelerator else _on_plugin(job)
    begin(ANSWERING)
    np.savez(job.folder / MADE, *compute(inputs))


def _on_accelerator(job: CutRun) -> Callable[[Sequence[Array]], Sequence[Array]]:
    from edge_runtime.compiled import CompiledNetwork

    delegation = job.delegation
    assert delegation.accelerator is not None
    return CompiledNetwork(
        job.folder / MODEL, delegation.choice, delegation.accelerator, delegation.request.options
    ).compute


def _on_plugin(job: CutRun) -> Callable[[Sequence[Array]], Sequence[Array]]:
    delegation = job.delegation
    assert delegation.library is not None
    options = {key: value for key, value in delegation.request.options.items() if key != LIBRARY}
    with refusals_reworded(delegation.choice):
        interpreter = import_interpreter(delegation.choice)(
            model_path=str(job.folder / MODEL),
            num_threads=delegation.threads,
            experimental_delegates=[Plugin(delegation.library, options)],
        )
        interpreter.allocate_tensors()
    given, made = interpreter.get_input_details(), interpreter.get_output_details()

    def compute(inputs: Sequence[Array]) -> list[Array]:
        with refusals_reworded(delegation.choice):
            for details, tensor in zip(given, inputs, strict=True):
                interpreter.set_tensor(details["index"], tensor)
            interpreter.invoke()
            return [np.asarray(interpreter.get_tensor(details["index"])) for details in made]

    return compute


def _arrays(path: Path) -> list[Array]:
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]
