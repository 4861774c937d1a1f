"""Answer jobs of a host: JSON lines on standard input, one JSON line for each on standard output.

    {"do": "open", "model": PATH, "sha256": HASH}  ->  {"opened": {...}}
    {"do": "image", "path": PATH, "sha256": HASH}  ->  {"image": HASH, "probabilities": [...], ...}
    {"do": "end"}                                  ->  {"ended": {...}}
    {"do": "benchmark", "options": {...}}          ->  {"benchmark": {...}}

Without a host there is nobody to compute for: the process ends as soon as its input does.
"""

from __future__ import annotations

import argparse
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

from edge_runtime.benchmark import device_state, milliseconds, report_on
from edge_runtime.classifier import Classifier
from edge_runtime.engines import AUTO, choose_engine, import_interpreter
from edge_runtime.errors import EdgeError, ImageError
from edge_runtime.preprocess import load_pixels
from edge_runtime.specs import InputSpec

Job = dict[str, Any]
LAST = ("end", "benchmark")
"""What a job is that nothing follows."""


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
        if "error" in answer or job["do"] in LAST:
            os._exit(int("error" in answer))  # the thread that reads would be waited for


class Agent:
    """Keeps the open model between jobs."""

    def __init__(self) -> None:
        self._classifier: Classifier | None = None

    def do(self, job: Job) -> Job:
        """Return the answer to a job; raise `EdgeError` if there is none."""
        kinds = {"open": self._open, "image": self._image, "end": self._end, "benchmark": _benchmark}
        return kinds[job["do"]](job)

    def _open(self, job: Job) -> Job:
        before, kept = device_state(), list[Classifier]()
        started = milliseconds(lambda: import_interpreter(choose_engine(AUTO)))
        loaded = milliseconds(lambda: kept.append(Classifier.open(job["model"], delegate=job["delegate"], **_how(job))))
        self._classifier = kept[0]
        opened = {
            "labels": list(kept[0].labels),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "import_ms": started,
            "load_ms": loaded - (kept[0].receipt.trial_ms or 0.0),
            "state": before,
        }
        return {"opened": opened}

    def _end(self, _: Job) -> Job:
        classifier = self._opened()
        classifier.check_delegate()
        return {"ended": {**device_state(), "receipt": asdict(classifier.receipt)}}

    def _opened(self) -> Classifier:
        if self._classifier is None:
            raise EdgeError("no model was opened: open one first")
        return self._classifier

    def _image(self, job: Job) -> Job:
        classifier = self._opened()
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


def _how(job: Job) -> Job:
    """Return what `Classifier.open` is told of a model beside its path."""
    spec = None if job.get("spec") is None else InputSpec.from_json(job["spec"])
    return {"sha256": job["sha256"], "spec": spec, "labels": job.get("labels")}


def _benchmark(job: Job) -> Job:
    return {"benchmark": report_on(argparse.Namespace(**job["options"]), _how(job))}


def _jobs() -> queue.SimpleQueue[Job]:
    """Read jobs in a thread of its own, which ends the process when the host is gone, whatever is computed."""
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return jobs
