"""A run in parts: each predicts its share of the images, and merged they are the run of one process, bit for bit.

A shard is JSON: what was run (hashes, labels, preprocessing), and for each of its images the position in the seeded
shuffle, the name, and both rows of float32 probabilities, as base64. Merging puts the rows in the order of their
positions and compares them as one process would; no shard stops early. Shards can also be run by the workers of a dask
scheduler; those of a worker that dies are run again.
"""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.figures import assess
from convert.drift.models import needs_lowering
from convert.drift.predictions import Predictions, predict_both, refuse_too_few
from convert.drift.run import DriftRequest, DriftRun, open_models, reported, run_identity
from convert.errors import ConvertError, MissingExtraError, SourceError
from convert.images.dataset import ImageSet
from convert.images.image_labels import ImageLabels
from convert.statistics.verdict import Limits
from convert.system.installation import not_installed
from convert.system.progress import Progress, Silent
from convert.system.temporary import write_atomically
from edge_runtime import EdgeError
from edge_runtime.arrays import Array
from edge_runtime.specs import SOFTMAX

FORMAT, FORMAT_VERSION = "irv2-edge drift shard", 1
IMAGES_A_SHARD = 256
SHARDS_A_WORKER = 4
"""Shards get smaller so that each worker has this many."""
CONNECTION_TIMEOUT_S = 20


@dataclass(frozen=True)
class Share:
    """Part `number` of `count` parts of a run, counted from 1; a `SourceError` if there is no such part."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise SourceError(f"--shard {self}: pass K/N with K from 1 to N, such as 1/{max(1, self.count)}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """Parse "K/N"; anything else is a `SourceError`."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise SourceError(f"--shard {text}: pass K/N, such as 2/8")
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def positions(self, total: int) -> range:
        """Return the positions of this part's images among `total`."""
        return range((self.number - 1) * total // self.count, self.number * total // self.count)


def predict_shard(request: DriftRequest, share: Share, progress: Progress) -> dict[str, Any]:
    """Let both models predict one part of the images, and return the shard as JSON values.

    A reference that has to be lowered first is a `SourceError`.
    """
    if needs_lowering(request.reference):
        raise SourceError(
            f"--reference {request.reference} is a network to be lowered, which every shard would lower again: "
            "pass its float .tflite, or answers stored with --save-reference"
        )
    images = request.image_set()
    names, positions = images.names, share.positions(len(images))
    part = images[positions.start : positions.stop]
    with open_models(request, part, progress) as (reference, candidate):
        truth = images.truth(reference.labels, reference.head)  # of all, not only of those in this shard
        expected, predicted = predict_both(reference, candidate, part, progress, f"shard {share}")
        position_of = dict(zip(part.paths, positions, strict=True))
        answered = dict.fromkeys(position_of[path] for path in predicted.paths)
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "shard": [share.number, share.count],
            "run": run_identity(request, reference, candidate, images),
            "paths": request.paths,
            "images": [(i, names[i]) for i in answered],
            "unreadable": [(i, names[i]) for i in positions if i not in answered],
            "messages": list(predicted.skipped),
            **({} if request.image_labels is None or truth is None else {"truth": _listed(truth, answered)}),
            "reference": _encoded(expected.probabilities),
            "candidate": _encoded(predicted.probabilities),
        }


def write_shard(path: Path, shard: dict[str, Any]) -> None:
    """Write a shard to `path`, replacing an existing file."""
    write_atomically(path, lambda partial: partial.write_text(json.dumps(shard), "utf-8"))


def read_shard(path: Path) -> dict[str, Any]:
    """Read what `write_shard` wrote; a file that is missing, damaged or something else is a `SourceError`."""
    try:
        shard = json.loads(path.read_text("utf-8"))
        if not isinstance(shard, dict) or shard.get("format") != FORMAT:
            raise ValueError("it is something else")
        if shard["version"] != FORMAT_VERSION:
            raise ValueError(f"format version {shard['version']}, this version reads {FORMAT_VERSION}")
        _check_complete(shard)
    except (EdgeError, OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise SourceError(f"{path} is not a complete shard of irv2-drift --shard ({error}): write it again") from error
    return dict(shard)


def merge(shards: dict[str, dict[str, Any]], limits: Limits) -> DriftRun:
    """Judge all shards of a run as one process would have; the keys of `shards` name them in messages.

    Shards of different runs, or one that is there twice or missing, are a `SourceError`; see also `refuse_too_few`.
    """
    _check_same_run(shards)
    _check_partition(shards)
    ordered = sorted(shards.values(), key=lambda shard: int(shard["shard"][0]))
    first = next(iter(shards.values()))
    run, root = first["run"], Path(first["paths"]["images"])
    names = [name for shard in ordered for _, name in shard["images"]]
    folders = tuple(name.split("/")[0] for name in names) if run["images"]["folders"] else None
    images = ImageSet(root, tuple(root / name for name in names), folders, image_labels=_image_labels(ordered))
    images = images.with_folders(run["images"].get("by_wordnet", {}))
    skipped = tuple(message for shard in ordered for message in shard["messages"])
    expected, predicted = (
        Predictions(
            images.paths,
            np.concatenate([_decoded(shard, model) for shard in ordered]),
            tuple(run[model]["labels"]),
            skipped,
            run[model]["step"],
            run[model].get("head", SOFTMAX),
        )
        for model in ("reference", "candidate")
    )
    refuse_too_few(predicted, ImageSet(root, (root,) * run["images"]["count"], None))
    assessment = assess(expected, predicted, images, limits)
    return reported(assessment, first["paths"], run)


def run_on_cluster(address: str, request: DriftRequest, limits: Limits, progress: Progress) -> DriftRun:
    """Map the shards of a run to workers, and merge them in the order of the images.

    Every worker opens the files of the request under the same paths, as on a shared file system, and has the same
    version of this package. Workers with different processors may round differently.

    Without dask.distributed, with a scheduler that cannot be reached, or workers that die again and again, it raises
    `ConvertError`; an `EdgeError` of a worker is raised again.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise MissingExtraError(not_installed(str(error.name), "cluster")) from error
    images = request.image_set()
    everywhere = replace(
        request,
        candidate=request.candidate.resolve(),
        reference=request.reference.resolve(),
        images=request.images.resolve(),
        image_labels=request.image_labels and request.image_labels.resolve(),
    )
    with _client(distributed, address) as client:
        workers = max(1, len(client.nthreads()))
        count = max(1, -(-len(images) // IMAGES_A_SHARD), min(SHARDS_A_WORKER * workers, len(images)))
        shares = [Share(number + 1, count) for number in range(count)]
        futures = client.map(predict_shard, [everywhere] * count, shares, [Silent()] * count, pure=False)
        share_of = dict(zip(futures, shares, strict=True))
        try:
            for _ in progress.track(_done(distributed, share_of, len(images)), "comparing", len(images)):
                pass
            shards = client.gather(futures)
        except distributed.KilledWorker as error:
            raise ConvertError(f"the workers of {address} died again and again: {error}; look at their logs") from error
    shown = {"paths": request.paths}
    return merge({f"shard {share}": shard | shown for share, shard in zip(shares, shards, strict=True)}, limits)


def _client(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=CONNECTION_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConvertError(
            f"--scheduler {address} cannot be reached ({error}): pass tcp://HOST:PORT of a dask scheduler"
        ) from error


def _done(distributed: Any, share_of: dict[Any, Share], total: int) -> Iterator[int]:
    """Yield the position of each image among `total` as its shard is done."""
    for future in distributed.as_completed(share_of):
        yield from share_of[future].positions(total)


def _listed(truth: Sequence[int] | Array, answered: Iterable[int]) -> list[list[int]]:
    """Return the indices of the labels that each answered image has."""
    return [np.flatnonzero(truth[i]).tolist() if np.ndim(truth[i]) else [int(truth[i])] for i in answered]


def _image_labels(shards: Sequence[dict[str, Any]]) -> ImageLabels | None:
    """Return what the shards say of their images' labels, if they had it from a file."""
    if "truth" not in shards[0]:
        return None
    labels = shards[0]["run"]["reference"]["labels"]
    listed = [
        (name, there) for shard in shards for (_, name), there in zip(shard["images"], shard["truth"], strict=True)
    ]
    columns = range(len(labels))
    rows = tuple((name, *(str(int(index in there)) for index in columns)) for name, there in listed)
    return ImageLabels(Path("merge"), ("image", *labels), rows)


def _encoded(rows: Array) -> str:
    return base64.b64encode(np.asarray(rows, "<f4").tobytes()).decode()


def _decoded(shard: dict[str, Any], model: str) -> Array:
    classes = len(shard["run"][model]["labels"])
    flat = np.frombuffer(base64.b64decode(shard[model], validate=True), "<f4")
    return np.asarray(flat.reshape(-1, classes), np.float32)


def _check_complete(shard: dict[str, Any]) -> None:
    """Raise `ValueError` unless every position of the part is there once, with a finite row of both models."""
    share = Share(*shard["shard"])
    there = sorted(int(i) for i, _ in (*shard["images"], *shard["unreadable"]))
    if there != list(share.positions(shard["run"]["images"]["count"])):
        raise ValueError("it has other images than its part")
    if [i for i, _ in shard["images"]] != sorted(i for i, _ in shard["images"]):
        raise ValueError("its images are not in order")
    if any(len(_decoded(shard, model)) != len(shard["images"]) for model in ("reference", "candidate")):
        raise ValueError("it does not have one row for each image")
    if len(shard.get("truth", shard["images"])) != len(shard["images"]):
        raise ValueError("it does not have the labels of each image")
    if not all(np.isfinite(_decoded(shard, model)).all() for model in ("reference", "candidate")):
        raise ValueError("a probability is not finite")


def _check_same_run(shards: dict[str, dict[str, Any]]) -> None:
    (first_name, first), *others = shards.items()
    for name, shard in others:
        for part, expected in first["run"].items():
            if shard["run"].get(part) != expected:
                raise SourceError(
                    f"{name} is a shard of another run than {first_name}, its {part} differs: "
                    "merge the shards of one candidate, reference and image folder"
                )
        if shard["shard"][1] != first["shard"][1]:
            raise SourceError(
                f"{name} is one of {shard['shard'][1]} shards, {first_name} one of {first['shard'][1]}: "
                "merge shards of one --shard K/N"
            )


def _check_partition(shards: dict[str, dict[str, Any]]) -> None:
    names: dict[int, str] = {}
    for name, shard in shards.items():
        number, count = shard["shard"]
        if number in names:
            raise SourceError(f"{names[number]} and {name} are both shard {number}/{count}: leave one of them out")
        names[number] = name
    missing = next((number for number in range(1, count + 1) if number not in names), None)
    if missing is not None:
        raise SourceError(f"shard {missing}/{count} is missing: run irv2-drift with --shard {missing}/{count}")
