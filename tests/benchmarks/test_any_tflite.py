"""The table of other people's models: what LiteRT runs has to be read, and each file stands in it once."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.edge_runtime import unusual_models
from tests.edge_runtime.commands import environment

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "any_tflite.py"


def test_each_model_is_a_row_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "somebody-1.0" / "models"
    package.mkdir(parents=True)
    (package / "branches.tflite").write_bytes(unusual_models.branching())
    (package / "the same again.tflite").write_bytes(unusual_models.branching())
    (package / "cut off.tflite").write_bytes(unusual_models.branching()[:900])
    with zipfile.ZipFile(package / "pair.task", "w") as bundle:
        bundle.writestr("ends.tflite", unusual_models.with_ends(2, 1))
    command = [sys.executable, PROGRAM, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| somebody-1.0")]
    assert [row[1] for row in rows] == ["branches.tflite", "cut off.tflite", "pair.task: ends.tflite"]
    branches, cut, ends = rows
    assert branches[3:] == [
        "runs",
        "NOT int8: float: 0 of 2 dense operators int8",
        "opened: 3 classes, softmax",
        "read",
    ]
    assert cut[3].startswith("refuses: ")
    assert "this is not a TFLite flatbuffer" in cut[4]
    assert cut[6] == "refused"
    assert ends[5:] == ["refused: it has 2 inputs: an image classifier has one", "read"]
    assert "3 files (packages: 1)" in done.stdout
    assert "2 read, 1 refused with the reason, 0 wrong" in done.stdout
