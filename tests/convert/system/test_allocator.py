"""Freed memory goes back to the system, where glibc would keep it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

HOLES = """
import sys, threading
import numpy as np
from convert.system.allocator import return_freed_memory

def resident_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

def work():
    np.ones(30 * 2**20, np.uint8)  # freed at once: from now on glibc keeps blocks of up to so many bytes
    large = []
    for _ in range(40):
        large.append(np.ones(5 * 2**20, np.uint8))
        kept.append(bytearray(2000))  # a small block that stays behind each large one

if sys.argv[1] == "returned":
    return_freed_memory()
kept, before = [], resident_mb()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resident_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_lies_between_small_blocks_goes_back_to_the_system() -> None:
    def left_mb(how: str) -> float:
        run = [sys.executable, "-c", HOLES, how]
        own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}  # dask sets one
        return float(subprocess.run(run, capture_output=True, text=True, check=True, timeout=60, env=own).stdout)

    assert left_mb("kept") > 100, "200 MB were freed: nothing shows otherwise"
    assert left_mb("returned") < 20
