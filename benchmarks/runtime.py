"""How much room and time the runtime takes, as whole processes on this machine; prints a Markdown table.

python benchmarks/runtime.py build/irv2-demo.int8.tflite calibration_data/validation/bag/test_00429.png
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import edge_runtime
from edge_runtime.benchmark import synthetic_photo
from edge_runtime.jpeg_scaling import DECODINGS

RUNS = 7
IMPORTS = {"numpy and Pillow": "import numpy, PIL.Image", "edge_runtime": "import numpy, PIL.Image, edge_runtime"}
RESIDENT = """
import json, sys
import numpy, PIL.Image, edge_runtime
from edge_runtime.engines import choose_engine, import_interpreter
def resident():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
import_interpreter(choose_engine())
before = resident()
classifier = edge_runtime.Classifier.open(sys.argv[1])
classifier.predict(sys.argv[2])
print(json.dumps(resident() - before))
"""
PHOTO_ROUNDS = 3
PHOTO_SIDES = (299, 139)
PREPARE = """
import json, statistics, sys, time
import numpy
from edge_runtime import InputSpec
from edge_runtime.benchmark import status_bytes
from edge_runtime.preprocess import load_pixels
photo, side, decode = open(sys.argv[1], "rb").read(), int(sys.argv[2]), sys.argv[3]
spec = InputSpec(side, side, (0, 0, 0), (1, 1, 1), decode=decode)
load_pixels(numpy.zeros((64, 64, 3), numpy.uint8), spec)
before, times = status_bytes("VmRSS"), []
for _ in range(15):
    start = time.process_time()
    load_pixels(photo, spec)
    times.append(time.process_time() - start)
print(json.dumps([min(times), statistics.median(times), status_bytes("VmHWM") - before]))
"""


def main(model: str, picture: str) -> None:
    """Measure and print."""
    imports = {name: seconds(sys.executable, "-c", code) for name, code in IMPORTS.items()}
    first = seconds(sys.executable, "-m", "edge_runtime", model, picture)
    done = subprocess.run([sys.executable, "-c", RESIDENT, model, picture], capture_output=True, check=True)
    resident, size = json.loads(done.stdout), Path(model).stat().st_size
    beyond = imports["edge_runtime"] - imports["numpy and Pillow"]
    rows = {
        "`edge_runtime/`, kB": f"{package_bytes() / 1e3:.0f}",
        "`import edge_runtime` beyond numpy and Pillow, ms": f"{1e3 * beyond:.0f}",
        "process start to the end of one prediction, s": f"{first:.2f}",
        "resident memory of an opened model, MB": f"{resident / 1e6:.0f}",
        "the same as a multiple of the file": f"{resident / size:.2f}",
    }
    engine = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {engine}, {Path(model).name}, median of {RUNS}\n")
    print("| | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    print_preparing()


def print_preparing() -> None:
    """A second table: from the bytes of a 12-megapixel JPEG to the network's pixels, decoded whole and scaled."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(synthetic_photo())
        file.flush()
        print(
            f"\n12-megapixel JPEG of {file.tell() / 1e6:.1f} MB, one thread, CPU time, {PHOTO_ROUNDS} rounds in turn\n"
        )
        print("| tensor | decode | fastest, ms | median, ms | of whole | memory, MB |\n|---|---|---|---|---|---|")
        for side in PHOTO_SIDES:
            found = {decode: [] for decode in DECODINGS}
            for _ in range(PHOTO_ROUNDS):
                for decode, rounds in found.items():
                    rounds.append(prepared(file.name, side, decode))
            best = {decode: summary(rounds) for decode, rounds in found.items()}
            for decode, (fastest, median, memory) in best.items():
                row = f"{1e3 * fastest:.1f} | {1e3 * median:.1f} | {median / best['full'][1]:.2f} | {memory / 1e6:.0f}"
                print(f"| {side} x {side} | {decode} | {row} |")


def prepared(photo: str, side: int, decode: str) -> list[float]:
    """Fastest and median CPU seconds of a process that does nothing else, and the bytes it takes at most."""
    command = [sys.executable, "-c", PREPARE, photo, str(side), decode]
    return list(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def summary(rounds: list[list[float]]) -> tuple[float, float, float]:
    """Of several processes: the fastest time, the median of medians, the most memory."""
    fastest, medians, memory = zip(*rounds, strict=True)
    return min(fastest), statistics.median(medians), max(memory)


def seconds(*command: str) -> float:
    """Median wall-clock time of a command, after one run that is not counted."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def package_bytes() -> int:
    """Size of the sources that a device installs."""
    folder = Path(edge_runtime.__file__).parent
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


if __name__ == "__main__":
    main(*sys.argv[1:])
