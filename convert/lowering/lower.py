"""Keras -> float `.tflite`, in a process of its own.

TensorFlow takes seconds to import, gigabytes to convert, and prints a thousand lines while it does. In a
child process its memory is returned, its chatter stays in a log, and the rest of the pipeline, which this
module belongs to, never imports it. `convert.lowering.worker` is the other side.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convert import errors
from convert.keras_models.sources import ModelSource

MINIMUM_SQNR_DB = 80.0
"""Below this the float model is another network: float32 rounding alone leaves well over 100 dB."""
MINIMUM_SPREAD = 1e-3
"""Standard deviation of the logits over the classes; below it every answer is a coin toss."""
MOST_LOG_LINES = 100


@dataclass(frozen=True)
class LoweringRequest:
    """What to lower, and on which images to compare the result with Keras.

    Attributes:
        source: the network.
        preprocessing: convention or file, see `convert.images.conventions.input_spec`.
        images: pictures for the comparison; at least one.
        output: path of the float `.tflite` to write.
    """

    source: ModelSource
    preprocessing: str
    images: tuple[Path, ...]
    output: Path


@dataclass(frozen=True)
class LoweredModel:
    """A float `.tflite` that was compared with the Keras network it was made from.

    Attributes:
        path: of the `.tflite`: static batch 1, signature `serving_default`, image -> probabilities.
        architecture, labels, weights_sha256: as in `convert.keras_models.loader.LoadedModel`.
        height, width, classes: of its ends.
        keras_sqnr_db: of its logits against Keras', on the images of the request.
        versions: of TensorFlow and Keras.
    """

    path: Path
    architecture: str
    labels: tuple[str, ...] | None
    weights_sha256: str
    height: int
    width: int
    classes: int
    keras_sqnr_db: float
    versions: dict[str, str]


def lower(request: LoweringRequest, progress: Callable[[str], None]) -> LoweredModel:
    """Lower a network and compare the result with it.

    Args:
        request: what to lower; the folder of its output must exist.
        progress: told the name of each stage when it begins.

    Raises:
        ConvertError: what the worker refused, as the class it raised.
        LoweringError: the worker died; the message ends with its last words.
        Both carry the end of its log as a note, which `--debug` shows.
    """
    log_path = request.output.with_suffix(".log")
    with log_path.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "convert.lowering.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment(request.output.parent.absolute()),
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError), worker.stdin:  # it died unasked: its last words tell why
                worker.stdin.write(to_json(request))
            result = _follow(worker.stdout, progress)
            if result is None:
                worker.wait()
                raise errors.LoweringError(
                    f"the lowering of {request.source.name} ended unexpectedly ({_end(worker.returncode)}): "
                    f"{_last_words(log_path)}; --debug shows its log"
                )
        except errors.ConvertError as error:
            error.add_note("\n".join(_log_lines(log_path)[-MOST_LOG_LINES:]))
            raise
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
    return LoweredModel(
        **{**result, "path": request.output, "labels": None if result["labels"] is None else tuple(result["labels"])}
    )


def to_json(request: LoweringRequest) -> str:
    """The request as the worker reads it."""
    return json.dumps(asdict(request), default=str)


def from_json(text: str) -> LoweringRequest:
    """What `to_json` wrote."""
    value = json.loads(text)
    source = value["source"]
    source["weights"] = source["weights"] and Path(source["weights"])
    return LoweringRequest(
        ModelSource(**source),
        value["preprocessing"],
        tuple(Path(path) for path in value["images"]),
        Path(value["output"]),
    )


def _environment(scratch: Path) -> dict[str, str]:
    """Ours, with what libraries leave in the folder for temporary files when they are killed put where it is removed.

    AutoGraph runs code from there, and TensorFlow takes no name of a file but UTF-8.
    """
    is_text = os.fsencode(scratch).decode("utf-8", "ignore") == str(scratch)
    return {**os.environ, "TMPDIR": str(scratch)} if is_text else dict(os.environ)


def _follow(events: Any, progress: Callable[[str], None]) -> dict[str, Any] | None:
    """Pass stages on until the worker ends; its result, or None when it died without one."""
    for line in events:
        event = json.loads(line)
        if "stage" in event:
            progress(event["stage"])
        elif "error" in event:
            raise getattr(errors, event["error"], errors.LoweringError)(event["message"])
        else:
            return dict(event["result"])  # TensorFlow takes a second more to end
    return None


def _end(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "killed, as happens when memory runs out"
    return f"exit code {exit_code}"


def _last_words(log: Path) -> str:
    lines = _log_lines(log)
    return lines[-1][:300] if lines else "it said nothing"


def _log_lines(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
