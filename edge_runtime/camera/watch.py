"""`irv2-predict --camera`: answers the newest frame, again and again, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime._cli import receipt_line
from edge_runtime.answers import Answer, AnswerText, answer_image, known_of, to_json
from edge_runtime.camera.capture import Captured, newest_frames
from edge_runtime.camera.on_change import OnChange
from edge_runtime.camera.sources import Camera
from edge_runtime.classifier import DOUBTFUL, Classifier, TopK
from edge_runtime.console import ERASE_LINE, complain
from edge_runtime.errors import ImageError
from edge_runtime.specs import SOFTMAX
from edge_runtime.tensors import Probabilities

FPS_OVER = 30
"""Frames a second are counted over so many answers."""


@dataclass(frozen=True)
class FrameAnswer:
    """The answer for one frame, how many were dropped since the start, when it was given, and frames a second."""

    frame: Captured
    answer: Answer
    dropped: int
    time: float
    fps: float | None

    def to_json(self, known: dict[str, object]) -> dict[str, Any]:
        """Return the object that --json prints; times are Unix seconds."""
        return {
            **to_json(self.answer, known),
            "frame": self.frame.number,
            "dropped": self.dropped,
            "captured_at": round(self.frame.time, 6),
            "answered_at": round(self.time, 6),
            "fps": None if self.fps is None else round(self.fps, 2),
        }


class Smoothing:
    """Returns the mean of the last `count` rows of probabilities, float32 (classes,)."""

    def __init__(self, count: int) -> None:
        self._rows: deque[Probabilities] = deque(maxlen=count)

    def __call__(self, row: Probabilities) -> Probabilities:
        """Add a row, and return the mean."""
        self._rows.append(row)
        mean: Probabilities = np.mean(self._rows, axis=0, dtype=np.float32)
        return mean


class Watcher:
    """Answers frames, and keeps count of them."""

    def __init__(self, classifier: Classifier, name: str, selection: TopK, smooth: int) -> None:
        self._classifier, self._name, self._selection = classifier, name, selection
        self._smoothing = Smoothing(smooth)
        self._answered = 0
        self._times: deque[float] = deque(maxlen=FPS_OVER)

    def answer(self, frame: Captured) -> FrameAnswer:
        """Classify a frame; one that cannot be decoded is an answer with an error.

        Raises:
            EngineError: the model fails, which it would do again.
        """
        name = frame.image if isinstance(frame.image, str) else self._name
        answer = answer_image(self._classifier, name, lambda: frame.image, self._selection, self._smoothing)
        if answer.error is not None and not isinstance(answer.error, ImageError):
            raise answer.error
        self._answered += 1
        self._times.append(time.monotonic())
        seconds = self._times[-1] - self._times[0]
        fps = (len(self._times) - 1) / seconds if seconds else None
        return FrameAnswer(frame, answer, frame.number + 1 - self._answered, time.time(), fps)


class LiveText:
    """Writes answers as one line that updates on a terminal, and as a line each elsewhere."""

    def __init__(self, name: str, classifier: Classifier, selection: TopK, as_list: bool) -> None:
        self._name, self._as_list = name, as_list
        self._text = AnswerText(classifier.labels, classifier.head, selection.threshold)
        self._on_terminal = sys.stdout.isatty()
        self._failing = False
        print(receipt_line(classifier.receipt), flush=True)

    def show(self, answered: FrameAnswer) -> None:
        """Write an answer; of errors in a row, the first."""
        answer, was_failing = answered.answer, self._failing
        self._failing = answer.error is not None
        if self._failing:
            if not was_failing:
                self.note(f"warning: frame {answered.frame.number}: {answer.error}")
            return
        classes = self._text.list(answer) if self._as_list else self._text.line(answer)
        line = f"{classes}  {'-' if answered.fps is None else f'{answered.fps:.1f}'} fps"
        if self._on_terminal:
            print(ERASE_LINE + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        else:
            print(line, flush=True)

    def note(self, text: str) -> None:
        """Write a line to stderr, in place of the one that updates."""
        if self._on_terminal:
            print(ERASE_LINE, end="", flush=True)
        complain(self._name, text)

    def close(self) -> None:
        """Leave the last answer on the terminal."""
        if self._on_terminal:
            print(flush=True)


class LiveJson:
    """Writes answers as JSON, an object a line."""

    def __init__(self, name: str, classifier: Classifier) -> None:
        self._name, self._classifier = name, classifier

    def show(self, answered: FrameAnswer) -> None:
        """Write an answer."""
        print(json.dumps(answered.to_json(known_of(self._classifier))), flush=True)

    def note(self, text: str) -> None:
        """Write a line to stderr."""
        complain(self._name, text)

    def close(self) -> None:
        """Do nothing."""


def watch(name: str, classifier: Classifier, camera: Camera, selection: TopK, arguments: argparse.Namespace) -> None:
    """Answer the newest frame of a camera, again and again; only an error or Ctrl-C ends it.

    Raises:
        CameraError: the camera cannot be opened.
        EngineError: the model fails.
        KeyboardInterrupt: Ctrl-C; camera and command are closed.
    """
    writer: LiveText | LiveJson = (
        LiveJson(name, classifier)
        if arguments.json
        else LiveText(name, classifier, selection, arguments.top_k is not None)
    )
    watcher = Watcher(classifier, camera.name, selection, arguments.smooth or 1)
    on_change = OnChange(arguments.on_change, writer.note) if arguments.on_change else None
    shown, fallback = "", classifier.receipt.fallback
    try:
        with newest_frames(camera, writer.note) as frames:
            for frame in frames:
                answered = watcher.answer(frame)
                if classifier.receipt.fallback != fallback:
                    fallback = classifier.receipt.fallback
                    writer.note(f"warning: {fallback}; the CPU is used instead, {DOUBTFUL}")
                writer.show(answered)
                if on_change is None or answered.answer.error is not None:
                    continue
                label, probability = _state(answered.answer, classifier.head)
                if label != shown:
                    on_change.run(label, probability)
                shown = label
    finally:
        writer.close()
        if on_change is not None:
            on_change.close()


def _state(answer: Answer, head: str) -> tuple[str, str]:
    """Return label and probability for a command: independent labels as "cat|dog", in the order of the classes.

    Where no label reaches the threshold, the label is empty, and the probability that of the nearest.
    """
    assert answer.nearest is not None
    count = 1 if head == SOFTMAX else None
    shown = sorted(answer.predictions[:count], key=lambda each: each.index)
    probabilities = [each.probability for each in shown or [answer.nearest]]
    return "|".join(each.label for each in shown), "|".join(f"{each:.4f}" for each in probabilities)
