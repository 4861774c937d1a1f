"""What `irv2-inspect` and `Classifier.open` make of other people's `.tflite` files, beside LiteRT itself.

    python benchmarks/any_tflite.py DIR... > benchmarks/ANY_TFLITE.md

Every model under the folders is looked at, those in the zips called `.task` too, each content once. The folder below
DIR that holds a file is named as its package. LiteRT, in a process of its own, says whether a file is sound: it loads
it, and runs it on zeros. A row is wrong if a command ends in a traceback or in more than one line, or if LiteRT runs a
file that `irv2-inspect` cannot read, or that either calls damaged.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SUFFIXES = (".tflite", ".lite", ".tfl")
BUNDLE = ".task"
INSPECT = Path(sys.executable).with_name("irv2-inspect")
TIMEOUT_S = 300
READ, REFUSED, WRONG = "read", "refused", "wrong"
WORDS_OF_DAMAGE = ("damaged", "does not hold together", "made to do harm")

RUN = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(sys.argv[1], num_threads=1)
model.allocate_tensors()
for end in model.get_input_details():
    is_text = end["dtype"] in (np.bytes_, np.object_)
    model.set_tensor(end["index"], np.full(end["shape"], b"a") if is_text else np.zeros(end["shape"], end["dtype"]))
model.invoke()
print("runs")
"""
"""Loads a model in LiteRT and runs it on zeros; the last line is its answer."""

OPEN = """
import sys, warnings
from edge_runtime import Classifier, EdgeError
from edge_runtime.foreign.reading import read_foreign
from edge_runtime.probe import probe_pixels
warnings.simplefilter("ignore")
try:
    file = read_foreign(sys.argv[1])
    size = (224, 224) if file.size is None else None
    spec = file.spec(None if file.describes_itself else "tf", size)
    with Classifier.open(sys.argv[1], spec=spec, delegate="cpu", threads=1) as classifier:
        classifier.run(probe_pixels(spec.height, spec.width)[..., : spec.channels])
        print(f"opened: {len(classifier.labels)} classes, {classifier.head}")
except EdgeError as error:
    print(f"refused: {error}")
"""
"""Opens a model as a user would who knows how its pixels are prepared, and classifies one picture."""


@dataclass(frozen=True)
class Row:
    """What became of one model; `litert`, `inspected` and `opened` are one line each."""

    package: str
    name: str
    bytes: int
    litert: str
    inspected: str
    opened: str
    verdict: str


def main(folders: Iterable[str]) -> None:
    """Print the table of all models under the folders."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for package, name, path in found(map(Path, folders), Path(scratch)):
            rows.append(tried(package, name, path))
            print(rows[-1].verdict, package, name, file=sys.stderr, flush=True)
    print(table(rows))
    sys.exit(any(row.verdict.startswith(WRONG) for row in rows))


def found(folders: Iterable[Path], scratch: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield package, name and path of every model under the folders, each content once."""
    seen = set[bytes]()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            package, *inside = path.relative_to(folder).parts
            for name, model in _models(path, scratch):
                digest = hashlib.sha256(model.read_bytes()).digest()
                if digest not in seen:
                    seen.add(digest)
                    yield package if inside else folder.name, name, model


def _models(path: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of a model, or of those in a bundle, which are unpacked."""
    if path.suffix in SUFFIXES:
        yield path.name, path
    elif path.suffix == BUNDLE and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            for member in bundle.namelist():
                if Path(member).suffix in SUFFIXES:
                    unpacked = scratch / f"{path.stem}-{Path(member).name}"
                    unpacked.write_bytes(bundle.read(member))
                    yield f"{path.name}: {member}", unpacked


def tried(package: str, name: str, path: Path) -> Row:
    """Run a model in LiteRT, inspect it, and open it."""
    litert, inspection, opening = (
        _run(path, *command)
        for command in ((sys.executable, "-c", RUN), (INSPECT, "--json"), (sys.executable, "-c", OPEN))
    )
    runs = litert.code == 0 and litert.lines[-1] == "runs"
    inspected, faults = _inspected(inspection)
    opened = _one_line(opening, path)
    if opening.code or len(opening.lines) != 1:
        faults.append("opening it fails")
    if runs and inspection.code:
        faults.append("LiteRT runs it")
    faults += ["called damaged, and LiteRT runs it" for word in WORDS_OF_DAMAGE if runs and word in opened + inspected]
    verdict = f"{WRONG}: {faults[0]}" if faults else READ if inspection.code == 0 else REFUSED
    said = "runs" if runs else f"refuses: {_reason(litert)}"
    return Row(package, name, path.stat().st_size, said, inspected.replace(str(path), "it"), opened, verdict)


@dataclass(frozen=True)
class _Done:
    """A finished process: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.out + self.err).splitlines() if line.strip()] or [f"ended with {self.code}"]


def _run(path: Path, *command: object) -> _Done:
    program, *options = map(str, command)
    ended = subprocess.run(
        [program, *options, str(path)], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
    )
    if ended.returncode < 0:
        return _Done(ended.returncode, "", f"killed by {signal.Signals(-ended.returncode).name}")
    return _Done(ended.returncode, ended.stdout, ended.stderr if ended.returncode else "")


def _inspected(done: _Done) -> tuple[str, list[str]]:
    """Return the verdict and the errors that were found, or the message; and what is wrong with the way it ended."""
    if done.code:
        return done.lines[-1], [] if len(done.lines) == 1 and done.code == 1 else ["more than a line, or killed"]
    report = json.loads(done.out)
    errors = [finding["what"] for finding in report["findings"] if finding["severity"] == "error"]
    return "; ".join([report["verdict"]["text"], *(f"ERROR: {what}" for what in errors)]), []


def _one_line(done: _Done, path: Path) -> str:
    return done.lines[-1].replace(str(path), "it")


def _reason(done: _Done) -> str:
    """Return the first sentence of the exception that ended a process."""
    errors = [line for line in done.lines if re.match(r"\w+Error: ", line)] or done.lines[-1:]
    return errors[0].partition(": ")[2].partition(". ")[0] or errors[0]


def table(rows: list[Row]) -> str:
    """Return the page."""
    counts = Counter(row.verdict.split(":")[0] for row in rows)
    opened = sum(row.opened.startswith("opened") for row in rows)
    runs = sum(row.litert == "runs" for row in rows)
    lines = [
        "# Any `.tflite`",
        "",
        "Written by `benchmarks/any_tflite.py`, which says how. No file is part of the project.",
        "",
        f"{len(rows)} files (packages: {len({row.package for row in rows})}): {counts[READ]} read, "
        f"{counts[REFUSED]} refused with the reason, {counts[WRONG]} wrong. LiteRT "
        f"{metadata.version('ai-edge-litert')} runs {runs} of them; `Classifier.open` opens {opened} and gives the "
        "reason for each of the others.",
        "",
        "| package | file | kB | LiteRT | `irv2-inspect` | `Classifier.open` | |",
        "|---|---|---:|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row.package, row.name)):
        cells = (row.package, row.name, f"{row.bytes / 1000:,.0f}", row.litert, row.inspected, row.opened, row.verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
