"""The receipt: what was asked for, and what actually runs."""

from __future__ import annotations

from dataclasses import dataclass


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
        probe_difference: largest difference between its probabilities and the CPU's on the probe; None on the CPU.
        fallback: why the requested delegate is not active; None if it is.
        warning: what to know about the requested delegate; None for most.
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
