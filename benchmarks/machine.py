"""What a table of figures says of the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

MATTER = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""Instructions that decide how fast int8 and float are."""


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
