"""A run in parts: each answers its share of the images, and merged they are the run of one process, bit for bit.

A shard is JSON: what was run (hashes, labels, preprocessing), and for each of its images the position in the seeded
shuffle, the name, and both rows of float32 probabilities, as base64. Merging puts the rows in the order of their
positions and compares them as one process would have; there is no early end.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.drift import FIXED, Limits, Predictions
from convert.drift.early_stopping import in_step
from convert.drift.models import ModelPredictor, Predictor
from convert.drift.run import Measured, Request, Subject, first_known, judged, open_models
from convert.errors import SourceError
from convert.images.dataset import ImageSet
from convert.images.reader import refuse_unreadable
from convert.keras_models.sources import MODEL_SUFFIXES
from convert.system.atomic import write_atomically
from convert.system.progress import Progress
from edge_runtime import EdgeError
from edge_runtime.arrays import Array

FORMAT, FORMAT_VERSION = "irv2-edge drift shard", 1


@dataclass(frozen=True)
class Share:
    """Part `number` of `count`, counted from 1.

    Raises:
        SourceError: there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise SourceError(f"--shard {self}: pass K/N with K from 1 to N, such as 1/{max(1, self.count)}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read "K/N"."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise SourceError(f"--shard {text}: pass K/N, such as 2/8")
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def positions(self, total: int) -> range:
        """Of the images of this part among `total`."""
        return range((self.number - 1) * total // self.count, self.number * total // self.count)


def answer_shard(request: Request, share: Share, progress: Progress) -> dict[str, Any]:
    """Let both sides answer one part of the images.

    Args:
        request: what to compare.
        share: which part.
        progress: told what happens.

    Returns:
        The shard, as JSON values.

    Raises:
        SourceError: the reference is a Keras model, which every part would lower again.
        EdgeError: a class of it that names the offending file.
    """
    if request.reference.suffix.lower() in MODEL_SUFFIXES:
        raise SourceError(
            f"--reference {request.reference} is a Keras model, which every shard would lower again: "
            "pass its float .tflite, or answers stored with --save-reference"
        )
    images = request.image_set()
    positions = share.positions(len(images))
    part = images[positions.start : positions.stop]
    with open_models(request, images, progress, checked=part) as (wanted, opened):
        candidate = replace(opened, most_unreadable=1.0)  # `merge` checks all shards together
        reference = replace(wanted, most_unreadable=1.0) if isinstance(wanted, ModelPredictor) else wanted
        found = []
        both = in_step(reference.rows(part), candidate.rows(part))
        for index, p, q in progress.track(both, f"shard {share}", len(part)):
            found.append((positions[index], p, q))
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "shard": [share.number, share.count],
            "run": _identity(request, reference, candidate, images),
            "paths": {key: str(getattr(request, key)) for key in ("candidate", "reference", "images")},
            "images": [[i, images.paths[i].relative_to(images.root).as_posix()] for i, _, _ in found],
            "unreadable": [
                [i, images.paths[i].relative_to(images.root).as_posix()]
                for i in sorted(set(positions) - {i for i, _, _ in found})
            ],
            "messages": list(candidate.skipped),
            "reference": _encoded([p for _, p, _ in found]),
            "candidate": _encoded([q for _, _, q in found]),
        }


def write_shard(path: Path, shard: dict[str, Any]) -> None:
    """Write a shard to `path`, replacing what is there."""
    write_atomically(path, lambda partial: partial.write_text(json.dumps(shard), "utf-8"))


def read_shard(path: Path) -> dict[str, Any]:
    """Read what `write_shard` wrote.

    Raises:
        SourceError: it is missing, damaged, or something else.
    """
    try:
        shard = json.loads(path.read_text("utf-8"))
        if not isinstance(shard, dict) or shard.get("format") != FORMAT:
            raise ValueError("it is something else")
        if shard["version"] != FORMAT_VERSION:
            raise ValueError(f"format version {shard['version']}, this version reads {FORMAT_VERSION}")
        _check_complete(shard)
    except (EdgeError, OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise SourceError(f"{path} is no whole shard of irv2-drift --shard ({error}): write it again") from error
    return dict(shard)


def merge(shards: dict[str, dict[str, Any]], limits: Limits) -> Measured:
    """What one process would have found.

    Args:
        shards: the name to give each in a message -> the shard.
        limits: of the gate.

    Raises:
        SourceError: shards are of different runs, or one is there twice or missing.
        ImageSetError: more than a tenth of all images could not be read.
    """
    names = list(shards)
    first = shards[names[0]]
    for name in names[1:]:
        _check_same_run(shards[name], name, first, names[0])
    _check_partition(shards)
    ordered = sorted(shards.values(), key=lambda shard: int(shard["shard"][0]))
    root = Path(first["paths"]["images"])
    rows = [(position, name) for shard in ordered for position, name in shard["images"]]
    images = _image_set(root, [name for _, name in rows], first["run"]["images"]["folders"])
    run = first["run"]
    everything = _image_set(root, [str(i) for i in range(run["images"]["count"])], False)
    messages = [message for shard in ordered for message in shard["messages"]]
    refuse_unreadable(messages, everything)
    if not rows:
        raise SourceError("no image of any shard could be read")
    wanted, found = (
        Predictions(
            images.paths,
            np.concatenate([_decoded(shard, side) for shard in ordered]),
            tuple(run[side]["labels"]),
            step=run[side]["step"],
        )
        for side in ("reference", "candidate")
    )
    subject = Subject(
        artifact={
            "path": first["paths"]["candidate"],
            "bytes": run["candidate"]["bytes"],
            "sha256": run["candidate"]["sha256"],
        },
        reference={"path": first["paths"]["reference"], "model_sha256": run["reference"]["sha256"]},
        available=run["images"]["count"],
        unreadable=len(messages),
        keras_sqnr_db=first_known(run["reference"]["keras_sqnr_db"], run["candidate"]["keras_sqnr_db"]),
    )
    return judged(subject, wanted, found, images, limits, FIXED)


def _identity(request: Request, reference: Predictor, candidate: ModelPredictor, images: ImageSet) -> dict[str, Any]:
    """What shards of one run have in common, wherever they were run."""
    names = "\n".join(path.relative_to(images.root).as_posix() for path in images.paths)

    def side(opened: Predictor) -> dict[str, Any]:
        return {
            "sha256": opened.model_sha256,
            "preprocessing": opened.spec.to_json(),
            "labels": list(opened.labels),
            "step": opened.step,
            "keras_sqnr_db": opened.keras_sqnr_db,
        }

    return {
        "candidate": {**side(candidate), "bytes": request.candidate.stat().st_size},
        "reference": side(reference),
        "images": {
            "count": len(images),
            "folders": images.folders is not None,
            "names_sha256": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
        },
        "version": metadata.version("irv2-edge"),
    }


def _encoded(rows: Sequence[Array]) -> str:
    return base64.b64encode(np.asarray(rows, "<f4").tobytes()).decode()


def _decoded(shard: dict[str, Any], side: str) -> Array:
    classes = len(shard["run"][side]["labels"])
    flat = np.frombuffer(base64.b64decode(shard[side], validate=True), "<f4")
    return np.asarray(flat.reshape(-1, classes), np.float32)


def _image_set(root: Path, names: Sequence[str], in_folders: bool) -> ImageSet:
    folders = tuple(name.split("/")[0] for name in names) if in_folders else None
    return ImageSet(root, tuple(root / name for name in names), folders)


def _check_complete(shard: dict[str, Any]) -> None:
    """Every position of the part is there once, and has a row of each side."""
    share = Share(*shard["shard"])
    there = sorted(int(i) for i, _ in (*shard["images"], *shard["unreadable"]))
    if there != list(share.positions(shard["run"]["images"]["count"])):
        raise ValueError("it has other images than its part")
    if [i for i, _ in shard["images"]] != sorted(i for i, _ in shard["images"]):
        raise ValueError("its images are not in order")
    if any(len(_decoded(shard, side)) != len(shard["images"]) for side in ("reference", "candidate")):
        raise ValueError("it has not one row for each image")
    if not all(np.isfinite(_decoded(shard, side)).all() for side in ("reference", "candidate")):
        raise ValueError("a probability is not finite")


def _check_same_run(shard: dict[str, Any], name: str, first: dict[str, Any], first_name: str) -> None:
    for part, expected in first["run"].items():
        if shard["run"].get(part) != expected:
            raise SourceError(
                f"{name} is a shard of another run than {first_name}, its {part} is another one: "
                "merge the shards of one candidate, reference and image folder"
            )
    if shard["shard"][1] != first["shard"][1]:
        raise SourceError(
            f"{name} is one of {shard['shard'][1]} shards, {first_name} one of {first['shard'][1]}: "
            "merge shards of one --shard K/N"
        )


def _check_partition(shards: dict[str, dict[str, Any]]) -> None:
    known: dict[int, str] = {}
    count = next(iter(shards.values()))["shard"][1]
    for name, shard in shards.items():
        number = shard["shard"][0]
        if number in known:
            raise SourceError(f"{known[number]} and {name} are both shard {number}/{count}: leave one of them out")
        known[number] = name
    missing = next((number for number in range(1, count + 1) if number not in known), None)
    if missing is not None:
        raise SourceError(f"shard {missing}/{count} is missing: run irv2-drift with --shard {missing}/{count}")
