"""Opens hostile files in forked processes under limits: `python -m tests.hostile.trial KIND COUNT [NUMBER]`.

A kind is a key of `KINDS`. Prints one JSON object: how often each outcome was seen, the largest memory and the longest
time, and the failures. It is a program of its own so that what is forked has no threads, and no TensorFlow.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click.testing
import numpy as np
from ai_edge_litert import interpreter as _loaded_before_the_fork  # noqa: F401
from PIL import Image

from convert.audit.inspection import inspect_file, to_json
from convert.cli.drift import drift
from convert.cli.inspect import inspect as show
from edge_runtime import Classifier, EdgeError
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import load_pixels
from tests.edge_runtime.tiny_model import LABELS, SIZE, SPEC, expected_probabilities
from tests.hostile import artifacts, foreign, operators, pictures, unusual

MEMORY = 2**30
SECONDS = 10
ANSWERED, REFUSED, FAILED = "answered", "refused", "failed"
PIXELS = np.random.default_rng(7).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
RIGHT = expected_probabilities(PIXELS)


@dataclass(frozen=True)
class Failure:
    """What should not have been: `number` makes the file again."""

    number: int
    way: str
    target: str
    what: str


@dataclass
class Summary:
    """Outcomes of a trial: counts for each target, bytes and seconds at most, failures."""

    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    most_bytes: int = 0
    most_seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How one process ended: `kind`, a word about it, its largest resident memory, and how long it took."""

    kind: str
    what: str
    bytes: int
    seconds: float


def classify(path: Path, number: int) -> str:
    """The right answer where the checksums say that nothing was changed; else, any that is one."""
    with Classifier.open(path, engine="litert", delegate="cpu", threads=1) as classifier:
        found = classifier.predict(PIXELS)
    if artifacts.is_signed_again(number):
        assert all(0 <= prediction.probability <= 1.01 for prediction in found), found
        return ANSWERED
    for prediction in found:
        assert prediction.label == LABELS[prediction.index]
        assert abs(prediction.probability - RIGHT[prediction.index]) < 0.01, found
    return ANSWERED


def classify_foreign(path: Path, number: int) -> str:
    """Probabilities, whatever a model that nobody signed says of itself."""
    with Classifier.open(path, engine="litert", delegate="cpu", threads=1) as classifier:
        found = classifier.predict(PIXELS)
    assert all(-0.01 <= prediction.probability <= 1.01 for prediction in found), found
    return ANSWERED


def classify_unusual(path: Path, number: int) -> str:
    """Probabilities, whatever the form of a model that takes pictures as the tiny network does."""
    with Classifier.open(path, engine="litert", delegate="cpu", threads=1, spec=SPEC) as classifier:
        found = classifier.predict(PIXELS)
    assert all(-0.01 <= prediction.probability <= 1.01 for prediction in found), found
    return ANSWERED


def compute(path: Path, number: int) -> str:
    """Some numbers, whatever the operator."""
    engine = Engine(path, choose_engine("litert"), 1)
    engine.run(np.ones(engine.input_shape, engine.input.dtype))
    return ANSWERED


def inspect(path: Path, number: int) -> str:
    """A report that can be written as JSON, and one that can be read."""
    json.dumps(to_json(inspect_file(path), "tflite-runtime-2.14"))
    return _ended(click.testing.CliRunner().invoke(show, [str(path)]))


def judge(path: Path, number: int) -> str:
    """`irv2-drift`, with the sound artifact as its reference."""
    options = ["--reference", str(path.with_name("sound.tflite")), "--images", str(path.with_name("images"))]
    return _ended(click.testing.CliRunner().invoke(drift, [str(path), *options]))


def _ended(result: click.testing.Result) -> str:
    """How a command ended; what it let through is raised."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 3, 4), result.output
    return REFUSED if result.exit_code == 1 else ANSWERED


def look(path: Path, number: int) -> str:
    """A picture, of the size wanted."""
    assert load_pixels(path, SPEC).shape == (SIZE, SIZE, 3)
    return ANSWERED


def look_at_a_fraction(path: Path, number: int) -> str:
    """The same of a network so small that every JPEG here is decoded at an eighth of its size."""
    assert load_pixels(path, replace(SPEC, height=1, width=1, decode="scaled")).shape == (1, 1, 3)
    return ANSWERED


@dataclass(frozen=True)
class Kind:
    """A kind of hostile file: what makes number N, and what opens it."""

    make: Callable[[int], tuple[bytes, str]]
    targets: tuple[Callable[[Path, int], str], ...]


KINDS = {
    "artifacts": Kind(artifacts.artifact_file, (classify, inspect, judge)),
    "unusual": Kind(unusual.unusual_file, (classify_unusual, inspect)),
    "foreign": Kind(foreign.foreign_file, (classify_foreign,)),
    "operators": Kind(operators.operator_file, (compute,)),
    "pictures": Kind(pictures.picture_file, (look, look_at_a_fraction)),
}


def run(kind: Kind, numbers: Iterable[int], folder: Path) -> Summary:
    """Open every file with every target."""
    prepare(folder)
    summary = Summary({target.__name__: {ANSWERED: 0, REFUSED: 0, FAILED: 0} for target in kind.targets})
    path = folder / "hostile.tflite"
    for number in numbers:
        content, way = kind.make(number)
        path.write_bytes(content)
        for target in kind.targets:
            outcome = in_a_process(lambda target=target, number=number: target(path, number))  # type: ignore[misc]
            summary.outcomes[target.__name__][outcome.kind] += 1
            summary.most_bytes = max(summary.most_bytes, outcome.bytes)
            summary.most_seconds = max(summary.most_seconds, outcome.seconds)
            if outcome.kind == FAILED:
                summary.failures.append(Failure(number, way, target.__name__, outcome.what))
    return summary


def prepare(folder: Path) -> None:
    """The sound artifact and an image for `irv2-drift`."""
    artifacts.sound_artifacts()[0].write(folder / "sound.tflite")
    for label in LABELS:
        (folder / "images" / label).mkdir(parents=True)
        Image.fromarray(PIXELS).save(folder / "images" / label / "noise.png")


def in_a_process(body: Callable[[], str]) -> Outcome:
    """Fork, limit, run `body`, and tell how it ended."""
    reading, writing = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_run_and_tell(body, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        text = told.read().decode()
    _, status, usage = os.wait4(child, 0)
    seconds, code = time.monotonic() - start, os.waitstatus_to_exitcode(status)
    kind, _, what = text.partition("\n")
    if code != 0:
        kind, what = FAILED, f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if 1024 * usage.ru_maxrss > MEMORY:
        kind, what = FAILED, f"{usage.ru_maxrss / 1024:.0f} MB of memory; {what}"
    return Outcome(kind, what, 1024 * usage.ru_maxrss, seconds)


def _run_and_tell(body: Callable[[], str], told: int) -> int:
    """In the child: `told` gets the kind of outcome on its first line, and after it what there is to say."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            kind, what = body(), ""
    except EdgeError as error:
        kind, what = REFUSED, str(error)
        if "\n" in what:
            kind = FAILED
    except BaseException:
        kind, what = FAILED, traceback.format_exc()
    os.write(told, f"{kind}\n{what}"[:4000].encode(errors="replace"))
    return 0


def main(name: str, count: str, *only: str) -> None:
    """Print the summary."""
    numbers = map(int, only) if only else range(int(count))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder  # what a killed process leaves goes with it
        print(json.dumps(asdict(run(KINDS[name], numbers, Path(folder))), indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
