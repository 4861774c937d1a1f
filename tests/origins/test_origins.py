"""Models made by real versions of TensorFlow, in every form: the float .tflite answers as that version did, to 80 dB.

`make test-origins` tries all versions, IRV2_ORIGINS_QUICK=1 a few. The table is `build/origins.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.origins.environments import IS_QUICK, ORIGINS, QUIET, ROOT, MissingPythonError, Origin

pytestmark = [pytest.mark.slow, pytest.mark.origins]

MINIMUM_DB = 80.0
REFUSED: dict[str, str] = {}
"""Files that are rightly refused, by the beginning of their names, and what the message has to say."""

ROWS: list[tuple[str, str, str, str, str]] = []
HEADINGS = ("version", "model", "form", "float .tflite against its own answers", "recognised as, or why not")


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the table at the end, whatever failed."""
    yield
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *ROWS]
    path = ROOT / "build" / "origins.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines))
    print(f"\n{path}: {len(ROWS)} rows")


def made_by(origin: Origin, folder: Path) -> dict[str, Any]:
    """What `make_models.py` says of the models that it wrote into `folder`; skips loudly where it cannot run."""
    try:
        origin.make_models(folder, *(["--quick"] if IS_QUICK else []))
    except MissingPythonError as error:
        ROWS.append((origin.title, "all", "all", "NOT TRIED", str(error)))
        pytest.skip(f"NOT TRIED: {origin.title}: {error}")
    described: dict[str, Any] = json.loads((folder / "models.json").read_text())
    return described


def lowered(folder: Path) -> dict[str, Any]:
    """The results of one process of ours over the whole folder."""
    environment = os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.origins.lower_models", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


@pytest.mark.parametrize("origin", [o for o in ORIGINS if o.is_quick or not IS_QUICK], ids=lambda origin: origin.name)
def test_files_answer_as_the_version_that_wrote_them(origin: Origin, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    try:
        about, results, wrong = made_by(origin, folder), lowered(folder), []
        version = f"{origin.title} (Keras {about['keras']})"
        for file, reason in about["not_written"].items():
            ROWS.append((version, *file.partition(".")[::2], "not written", reason))
        for file, result in results.items():
            name, _, form = file.partition(".")
            db, message = result["db"], result["message"]
            ROWS.append(
                (version, name, form, "refused" if db is None else f"{db} dB", message.replace(f"{folder}/", ""))
            )
            expected = next((text for start, text in REFUSED.items() if file.startswith(start)), None)
            if expected not in message if expected else db is None or db < MINIMUM_DB:
                wrong.append(f"{file}: {db} dB {message}")
        assert results
        assert not wrong, "\n".join(wrong)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gigabytes
