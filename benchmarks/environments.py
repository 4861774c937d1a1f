"""The environments that peers run in: our own, or one of their own below build/peers, made on first use."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("build/peers")
STAMP = "requirements.txt"


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        name: of its folder.
        requirements: what pip installs; none for the environment that we run in.
        shown: distributions whose versions belong into a table, where they are there.
    """

    name: str
    requirements: tuple[str, ...]
    shown: tuple[str, ...]

    def python(self) -> Path:
        """Its interpreter, which is there once it is made."""
        return (FOLDER / self.name / "bin" / "python").absolute() if self.requirements else Path(sys.executable)

    def make(self) -> None:
        """Make the environment where it is missing or was made of other requirements."""
        if not self.requirements:
            return
        folder = FOLDER / self.name
        stamp, wanted = folder / STAMP, "".join(f"{line}\n" for line in self.requirements)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [self.python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *self.requirements], check=True)
            stamp.write_text(wanted)

    def versions(self) -> str:
        """Of what is shown: "name 1.2, other 3.4"."""
        code = (
            "import importlib.metadata as m, re, sys\n"
            "there = {re.sub('[-_.]+', '-', d.metadata['Name']).lower(): d.version for d in m.distributions()}\n"
            "print(', '.join(f'{name} {there[name]}' for name in sys.argv[1:] if name in there))"
        )
        command = [self.python(), "-c", code, *self.shown]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


OURS = Environment(
    "ours", (), ("tensorflow", "tensorflow-cpu", "keras", "litert-quantizer", "ai-edge-litert", "numpy", "pillow")
)
AI_EDGE = Environment(
    "ai-edge-quantizer",
    ("ai-edge-quantizer==0.10.*", "tensorflow", "pillow"),
    ("ai-edge-quantizer", "ai-edge-litert", "tensorflow"),
)
OPENVINO = Environment("openvino", ("openvino", "nncf", "tensorflow", "pillow"), ("openvino", "nncf", "tensorflow"))
ONNXRUNTIME = Environment(
    "onnxruntime",
    ("onnxruntime", "onnx", "sympy", "tf2onnx", "tensorflow", "pillow"),
    ("onnxruntime", "onnx", "tf2onnx", "tensorflow"),
)
