"""What a table of figures says of the machine, and of what else ran on it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

MATTER = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""Instructions that decide how fast int8 and float are."""
STAT = Path("/proc/stat")


@dataclass(frozen=True)
class CoreSeconds:
    """Seconds of all cores together, since a moment in the past: all there were, those that the processes of this
    machine ran, those that its host gave to other machines, and those of this process and its finished children."""

    all: float
    run: float
    stolen: float
    ours: float


def core_seconds(stat: str, ours: float) -> CoreSeconds:
    """Read the text of /proc/stat, whose first line counts ticks.

    Args:
        stat: that text.
        ours: what is known of ourselves.
    """
    user, nice, system, idle, waiting, irq, softirq, stolen = map(int, stat.splitlines()[0].split()[1:9])
    run = user + nice + system + irq + softirq
    tick = 1 / os.sysconf("SC_CLK_TCK")
    return CoreSeconds((run + idle + waiting + stolen) * tick, run * tick, stolen * tick, ours)


def core_seconds_now() -> CoreSeconds:
    """Of this machine and this process."""
    return core_seconds(STAT.read_text(), sum(os.times()[:4]))


def beside(start: CoreSeconds, end: CoreSeconds) -> str:
    """A sentence on who else had the cores between two moments."""
    whole = max(end.all - start.all, 1e-9)
    others = max(0.0, end.run - start.run - (end.ours - start.ours)) / whole
    stolen = (end.stolen - start.stolen) / whole
    return (
        f"Beside it, other processes of this machine had {others:.0%} of the cores' time, other machines of its host "
        f"{stolen:.0%}.".replace("%", " %")
    )


def described() -> str:
    """Processor, cores, memory, system, Python."""
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{processor(Path('/proc/cpuinfo').read_text())}, {cores} cores, {memory:.0f} GB; {system}"


def processor(cpuinfo: str) -> str:
    """Model and the instructions that matter, of the first processor in the text of /proc/cpuinfo."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    facts = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    known = [flag for flag in MATTER if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(known) or 'none of ' + ', '.join(MATTER)})"
