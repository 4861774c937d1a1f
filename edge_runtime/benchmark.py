"""`irv2-benchmark`: how fast is this model on this device, on which delegate?

Images come one at a time, as from a camera. Inference is timed on noise, from the pixels to the probabilities that the
caller receives, since its time does not depend on what an image shows; preprocessing is timed on a 12-megapixel JPEG.
Percentiles are times that were actually measured.
"""

from __future__ import annotations

import argparse
import glob
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_runtime import _autotune
from edge_runtime._cli import (
    add_engine_options,
    add_foreign_options,
    add_general_options,
    add_model,
    foreign_options,
    positive,
    receipt_line,
    warn_about,
)
from edge_runtime.artifact import Model
from edge_runtime.classifier import Classifier
from edge_runtime.console import prepare_streams, printable, run_command
from edge_runtime.delegates import CPU, DELEGATES
from edge_runtime.engines import AUTO, Receipt, choose_engine, import_interpreter
from edge_runtime.errors import EngineError
from edge_runtime.preprocess import load_pixels

NAME = "irv2-benchmark"
PHOTO_SIZE = (4000, 3000)
PHOTO_RUNS = 5
CLOCKS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"
TEMPERATURES = "/sys/class/thermal/thermal_zone*/temp"
COLUMNS = {
    "load": "load_ms",
    "first": "first_ms",
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "images/s": "images_per_s",
}
"""Title -> key of a report's `inference`."""


@dataclass(frozen=True)
class Speed:
    """Times of one delegate and number of threads: to open the model, for the first image, and for the later ones.

    The trial of a delegate, see `Receipt.trial_ms`, is no part of `load_ms`.
    `resident_bytes` is the memory of the process while the model was open; None if the system does not tell.
    """

    receipt: Receipt
    load_ms: float
    first_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    images_per_s: float
    resident_bytes: int | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    prepare_streams()
    arguments = build_parser().parse_args(argv)
    return run_command(NAME, lambda: run_here(arguments), arguments.debug)


def measure(
    path: str, engine: str, threads: int, warmup: int, runs: int, delegate: str = CPU, **opening: Any
) -> tuple[Speed, Model]:
    """Open the model at `path`, run it a first time, then `warmup` times unmeasured, then `runs` times.

    `opening` is what else `Classifier.open` is told: the pinned hash, and what a model without a card does not say.
    """
    start = time.perf_counter()
    with Classifier.open(path, engine=engine, threads=threads, delegate=delegate, **opening) as classifier:
        load = 1000 * (time.perf_counter() - start) - (classifier.receipt.trial_ms or 0.0)
        spec = classifier.spec
        noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), np.uint8)
        first = milliseconds(lambda: classifier.run(noise))
        for _ in range(warmup):
            classifier.run(noise)
        times = np.array([milliseconds(lambda: classifier.run(noise)) for _ in range(runs)])
        p50, p90, p95, p99 = (float(time) for time in np.percentile(times, (50, 90, 95, 99), method="higher"))
        rate, resident = 1000 * runs / float(times.sum()), status_bytes("VmRSS")
        return Speed(classifier.receipt, load, first, p50, p90, p95, p99, rate, resident), classifier.model


def synthetic_photo() -> bytes:
    """Return a JPEG of `PHOTO_SIZE`: gradients of colour with a little noise, about as many bytes as a photograph."""
    width, height = PHOTO_SIZE
    grain = np.random.default_rng(0).integers(0, 12, (height, width), np.uint8)
    across, down = np.linspace(0, 240, width).astype(np.uint8), np.linspace(0, 240, height).astype(np.uint8)
    file = io.BytesIO()
    pixels = np.dstack((grain + across, grain + down[:, np.newaxis], grain + across[::-1]))
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def peak_memory_bytes() -> int | None:
    """Return this process's peak resident memory; None if the system does not tell.

    On Linux this is read from /proc, since the `ru_maxrss` of a process starts at its parent's.
    """
    peak = status_bytes("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def status_bytes(key: str) -> int | None:
    """Return a value of /proc/self/status, in bytes; None if there is none."""
    if not os.path.exists("/proc/self/status"):
        return None
    with open("/proc/self/status") as status:
        return next((1024 * int(line.split()[1]) for line in status if line.startswith(f"{key}:")), None)


def milliseconds(action: Callable[[], object]) -> float:
    """Return how long `action` takes."""
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def device_state() -> dict[str, Any]:
    """Return peak memory in bytes, highest clock in kHz and temperature in degrees; None for what nobody tells."""
    temperature = _highest(TEMPERATURES)
    return {
        "peak_memory_bytes": peak_memory_bytes(),
        "clock_khz": _highest(CLOCKS),
        "temperature_c": None if temperature is None else temperature / 1000,
    }


def _highest(pattern: str) -> int | None:
    values = []
    for path in glob.glob(pattern):
        try:
            values.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # a sensor that is switched off
            continue
    return max(values, default=None)


def run_here(arguments: argparse.Namespace) -> int:
    """Measure and print what the arguments say, on this machine; return the exit code."""
    show(report_on(arguments, {"sha256": arguments.sha256, **foreign_options(arguments)}), arguments.json)
    return 0


def report_on(arguments: argparse.Namespace, opening: dict[str, Any]) -> dict[str, Any]:
    """Measure what the arguments say, and return the report as JSON values; `opening` is as for `measure`."""
    choice, before = choose_engine(arguments.engine), device_state()
    report: dict[str, Any] = {"model": arguments.model, "runs": arguments.runs, "warmup": arguments.warmup}
    report["engine_import_ms"] = milliseconds(lambda: import_interpreter(choice))
    measured = _measure_each(arguments, opening)
    speeds, model = [speed for speed, _ in measured], measured[0][1]
    report["inference"] = [asdict(speed) for speed in speeds]
    report["peak_memory_bytes"] = peak_memory_bytes()  # before the photo, which would count too
    report |= {"before": before, "after": device_state()}
    photo = synthetic_photo()
    times = [milliseconds(lambda: load_pixels(photo, model.spec)) for _ in range(PHOTO_RUNS)]
    report["preprocess_12mp_ms"] = float(np.median(times))
    report["saved"] = _save(model.flatbuffer_sha256(), speeds) if arguments.save else None
    return report


def show(report: dict[str, Any], as_json: bool) -> None:
    """Print a report, and what its receipts warn of on stderr."""
    receipts = [Receipt(**speed["receipt"]) for speed in report["inference"]]
    for receipt in {receipt.requested: receipt for receipt in receipts}.values():
        warn_about(NAME, receipt)
    if as_json:
        print(json.dumps(report))
    else:
        _print_report(report, receipts)


def _measure_each(arguments: argparse.Namespace, opening: dict[str, Any]) -> list[tuple[Speed, Model]]:
    """Measure what is to be tried; what was not asked for may refuse, as the CPU does what was compiled."""
    measured, refusals = [], []
    for delegate in _delegates_to_try(arguments):
        try:
            for threads in arguments.threads or [os.cpu_count() or 1]:
                how = arguments.engine, threads, arguments.warmup, arguments.runs, delegate
                measured.append(measure(arguments.model, *how, **opening))
        except EngineError as error:
            if not arguments.save or delegate in (arguments.delegate or ()):
                raise
            refusals.append(error)
    if not measured:
        raise refusals[0]
    return measured


def _delegates_to_try(arguments: argparse.Namespace) -> list[str]:
    """Return the delegates asked for; with --save also the CPU, and if none was asked for, all that have a name."""
    if not arguments.save:
        return arguments.delegate or [AUTO]
    candidates = [delegate for delegate in arguments.delegate or DELEGATES if delegate != AUTO]
    return list(dict.fromkeys([CPU, *candidates]))


def _save(model: str, speeds: Sequence[Speed]) -> dict[str, str]:
    """Save the delegate with the shortest median, except for those that fell back to the CPU."""
    proven = [speed for speed in speeds if speed.receipt.fallback is None]
    best = min(proven, key=lambda speed: speed.p50_ms).receipt.requested
    return {"delegate": best, "file": os.fspath(_autotune.save_fastest(model, best))}


def _print_report(report: dict[str, Any], receipts: Sequence[Receipt]) -> None:
    print(f"{printable(report['model'])}: {report['runs']} images after {report['warmup']} to warm up, times in ms")
    print(f"threads     trial{''.join(f'{title:>10}' for title in COLUMNS)}  resident  delegate")
    for speed, receipt in zip(report["inference"], receipts, strict=True):
        trial = "-" if receipt.trial_ms is None else f"{receipt.trial_ms:.2f}"
        row = f"{receipt.threads:7}{trial:>10}" + "".join(f"{speed[key]:10.2f}" for key in COLUMNS.values())
        print(f"{row}{_megabytes(speed['resident_bytes']):>10}  {printable(receipt.active)}")
    print(
        f"import of the engine {report['engine_import_ms']:.0f} ms, 12-megapixel JPEG to pixels "
        f"{report['preprocess_12mp_ms']:.0f} ms, peak memory {_megabytes(report['peak_memory_bytes'])}"
    )
    for line in dict.fromkeys(map(receipt_line, receipts)):
        print(line)
    if report["saved"] is not None:
        print(f"{printable(report['saved']['delegate'])} is the fastest, and what {AUTO} uses from now on")


def _megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.0f} MB"


def build_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog=NAME,
        allow_abbrev=False,
        usage="%(prog)s [OPTIONS] MODEL",
        description="Time a model made by irv2-convert on this device.",
    )
    add_model(parser)
    add_engine_options(parser, several=True)
    add_foreign_options(parser)
    parser.add_argument(
        "--save",
        action="store_true",
        help=f"save the fastest of the CPU and the given delegates (default: all); {AUTO} uses it from then on",
    )
    parser.add_argument(
        "--threads",
        type=lambda text: [positive(part) for part in text.split(",")],
        metavar="N[,N...]",
        help="numbers of threads to try; default: one per core",
    )
    parser.add_argument("--runs", type=positive, metavar="N", default=50, help="images to time; default: %(default)s")
    parser.add_argument(
        "--warmup", type=positive, metavar="N", default=5, help="untimed images first; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_general_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
