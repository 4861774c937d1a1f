"""`irv2-benchmark`: how fast is this model on this device?

One image at a time, as a camera delivers them. Inference is timed on noise, for its time does not depend on
what a picture shows; preprocessing on a 12-megapixel JPEG. Percentiles are times that were really measured.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from edge_runtime.classifier import Classifier
from edge_runtime.engines import AUTO, ENGINES, choose_engine, import_interpreter
from edge_runtime.preprocess import InputSpec, load_pixels
from edge_runtime.receipt import Receipt
from edge_runtime.terminal import describe, positive, prepare_streams, printable, run_command

NAME = "irv2-benchmark"
PHOTO_SIZE = (4000, 3000)
PHOTO_RUNS = 5


@dataclass(frozen=True)
class Speed:
    """Of one number of threads: times of opening the model, of its first image and of the later ones."""

    receipt: Receipt
    load_ms: float
    first_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    images_per_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    prepare_streams()
    arguments = _parser().parse_args(argv)
    return run_command(NAME, lambda: _benchmark(arguments), arguments.debug)


def measure(model: str, engine: str, threads: int, warmup: int, runs: int) -> tuple[Speed, InputSpec]:
    """Open `model`, run it a first time, then `warmup` times unmeasured, then `runs` times."""
    start = time.perf_counter()
    with Classifier.open(model, engine=engine, threads=threads) as classifier:
        load = 1000 * (time.perf_counter() - start)
        spec = classifier.spec
        noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
        first = milliseconds(lambda: classifier.run(noise))
        for _ in range(warmup):
            classifier.run(noise)
        times = np.array([milliseconds(lambda: classifier.run(noise)) for _ in range(runs)])
        p50, p90, p99 = (float(time) for time in np.percentile(times, (50, 90, 99), method="higher"))
        return Speed(classifier.receipt, load, first, p50, p90, p99, 1000 * runs / float(times.sum())), spec


def measure_preprocessing(spec: InputSpec) -> float:
    """Milliseconds, the median of a few, from the bytes of a 12-megapixel JPEG to the network's pixels."""
    photo = synthetic_photo()
    return float(np.median([milliseconds(lambda: load_pixels(photo, spec)) for _ in range(PHOTO_RUNS)]))


def synthetic_photo() -> bytes:
    """A JPEG of `PHOTO_SIZE`: gradients of colour under a little noise, of about a photograph's size in bytes."""
    width, height = PHOTO_SIZE
    grain = np.random.default_rng(0).integers(0, 12, (height, width), np.uint8)
    across, down = np.linspace(0, 240, width).astype(np.uint8), np.linspace(0, 240, height).astype(np.uint8)
    file = io.BytesIO()
    pixels = np.dstack((grain + across, grain + down[:, np.newaxis], grain + across[::-1]))
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def peak_memory_bytes() -> int | None:
    """The most memory this process ever held resident; None where the system does not say.

    Linux is asked through /proc, for the `ru_maxrss` of a process begins with what its parent held.
    """
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            return next((1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def milliseconds(action: Callable[[], object]) -> float:
    """How long `action` takes."""
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def _benchmark(arguments: argparse.Namespace) -> int:
    choice = choose_engine(arguments.engine)
    report: dict[str, Any] = {"model": arguments.model, "runs": arguments.runs, "warmup": arguments.warmup}
    report["engine_import_ms"] = milliseconds(lambda: import_interpreter(choice))
    measured = [
        measure(arguments.model, arguments.engine, threads, arguments.warmup, arguments.runs)
        for threads in arguments.threads
    ]
    report["inference"] = [asdict(speed) for speed, _ in measured]
    report["peak_memory_bytes"] = peak_memory_bytes()  # before the photo, which would count as well
    report["preprocess_12mp_ms"] = measure_preprocessing(measured[0][1])
    if arguments.json:
        print(json.dumps(report))
    else:
        _print_report(report, [speed for speed, _ in measured])
    return 0


def _print_report(report: dict[str, Any], speeds: Sequence[Speed]) -> None:
    print(f"{printable(report['model'])}: {report['runs']} images after {report['warmup']} for warming up, times in ms")
    print("threads      load     first       p50       p90       p99  images/s")
    for speed in speeds:
        times = (speed.load_ms, speed.first_ms, speed.p50_ms, speed.p90_ms, speed.p99_ms, speed.images_per_s)
        print(f"{speed.receipt.threads:7}" + "".join(f"{value:10.2f}" for value in times))
    memory = report["peak_memory_bytes"]
    held = "unknown" if memory is None else f"{memory / 1e6:.0f} MB"
    print(
        f"import of the engine {report['engine_import_ms']:.0f} ms, 12-megapixel JPEG to pixels "
        f"{report['preprocess_12mp_ms']:.0f} ms, peak memory {held}"
    )
    print(describe(speeds[-1].receipt))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description="Time a model made by irv2-convert on this device.")
    parser.add_argument("model", metavar="MODEL", help="the .tflite file")
    parser.add_argument("--engine", choices=[AUTO, *ENGINES], default=AUTO, help="default: %(default)s")
    parser.add_argument(
        "--threads",
        type=lambda text: [positive(part) for part in text.split(",")],
        metavar="N[,N...]",
        default=[os.cpu_count() or 1],
        help="numbers of threads to try; default: one a core",
    )
    parser.add_argument("--runs", type=positive, metavar="N", default=50, help="images to time; default: %(default)s")
    parser.add_argument("--warmup", type=positive, metavar="N", default=5, help="images before; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--debug", action="store_true", help="show tracebacks, and what native libraries print")
    return parser


if __name__ == "__main__":
    sys.exit(main())
