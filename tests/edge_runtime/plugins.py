"""Compiles plugin.c, once a session, and names the interpreters to try it on."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from edge_runtime.engines import ENGINES

SOURCE = Path(__file__).with_name("plugin.c")
COMPILER = shutil.which("cc")
INSTALLED = [name for name, (module, _) in ENGINES.items() if importlib.util.find_spec(module.split(".")[0])]


def compile_library(source: Path, folder: Path) -> Path:
    """Compile a C file to a shared library in `folder`."""
    library = folder / f"lib{source.stem}.so"
    line = ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-lm"]
    subprocess.run(line, check=True, timeout=60)
    return library
