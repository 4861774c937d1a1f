"""Answer jobs of a host: JSON lines on standard input, one JSON line for each on standard output.

    {"do": "open", "model": PATH, "sha256": HASH}  ->  {"opened": {...}}
    {"do": "image", "path": PATH, "sha256": HASH}  ->  {"image": HASH, "probabilities": [...], ...}
    {"do": "end"}                                  ->  {"ended": {...}}

Without a host there is nobody to compute for: the process ends as soon as its input does.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from edge_runtime.benchmark import milliseconds, peak_memory_bytes
from edge_runtime.classifier import Classifier
from edge_runtime.engines import AUTO, choose_engine, import_interpreter
from edge_runtime.errors import EdgeError, ImageError
from edge_runtime.preprocess import load_pixels
from edge_runtime.specs import InputSpec

Job = dict[str, Any]
CLOCKS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"
TEMPERATURES = "/sys/class/thermal/thermal_zone*/temp"


def main() -> NoReturn:
    """Answer jobs until "end" and exit with 0; with 1 after an error, which is answered as {"error": TEXT}."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    agent, jobs = Agent(), _jobs()
    while True:
        job = jobs.get()
        try:
            answer = agent.do(job)
        except (EdgeError, OSError) as error:
            answer = {"error": str(error)}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except OSError:  # the host is gone
            os._exit(1)
        if "error" in answer or "ended" in answer:
            os._exit(int("error" in answer))  # the thread that reads would be waited for


class Agent:
    """Keeps the open model between jobs."""

    def __init__(self) -> None:
        self._classifier: Classifier | None = None

    def do(self, job: Job) -> Job:
        """Return the answer to a job; raise `EdgeError` if there is none."""
        if job["do"] == "open":
            return {"opened": self._open(job)}
        return self._image(job) if job["do"] == "image" else {"ended": _state()}

    def _open(self, job: Job) -> Job:
        before, kept = _state(), list[Classifier]()
        spec = None if job.get("spec") is None else InputSpec.from_json(job["spec"])
        started = milliseconds(lambda: import_interpreter(choose_engine(AUTO)))
        how = {"sha256": job["sha256"], "spec": spec, "labels": job.get("labels")}
        loaded = milliseconds(lambda: kept.append(Classifier.open(job["model"], delegate="cpu", **how)))
        self._classifier = kept[0]
        return {
            "labels": list(kept[0].labels),
            "receipt": asdict(kept[0].receipt),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "import_ms": started,
            "load_ms": loaded,
            "state": before,
        }

    def _image(self, job: Job) -> Job:
        classifier = self._classifier
        if classifier is None:
            raise EdgeError("an image came before a model: open one first")
        data = Path(job["path"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != job["sha256"]:
            raise EdgeError(f"{job['path']} was changed on the device: run it again, it is copied anew")
        answer: Job = {"image": job["sha256"]}
        try:
            answer["prepare_ms"], pixels = _timed(lambda: load_pixels(data, classifier.spec))
        except ImageError as error:
            return {**answer, "unreadable": str(error)}
        answer["ms"], row = _timed(lambda: classifier.run(pixels))
        answer["pixels_sha256"] = hashlib.sha256(pixels.tobytes()).hexdigest()
        return {**answer, "probabilities": row.tolist()}


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many milliseconds `action` takes, and what it returns."""
    found: list[Any] = []
    return milliseconds(lambda: found.append(action())), found[0]


def _state() -> Job:
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


def _jobs() -> queue.SimpleQueue[Job]:
    """Read jobs in a thread of its own, which ends the process when the host is gone, whatever is computed."""
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def listen() -> None:
        job: Job = {}
        for line in sys.stdin:
            job = json.loads(line)
            jobs.put(job)
        if job.get("do") != "end":
            os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return jobs
