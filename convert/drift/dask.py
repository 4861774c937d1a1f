"""Run the shards of a comparison on the workers of a dask scheduler; those of a worker that dies are run again."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from convert.drift.run import DriftRequest, DriftRun
from convert.drift.shards import Share, merge, predict_shard
from convert.errors import ConvertError, MissingExtraError
from convert.statistics.verdict import Limits
from convert.system.progress import Progress, Silent

IMAGES_A_SHARD = 256
SHARDS_A_WORKER = 4
"""Shards get smaller so that each worker has this many."""
CONNECTION_TIMEOUT_S = 20


def run_on_cluster(address: str, request: DriftRequest, limits: Limits, progress: Progress) -> DriftRun:
    """Map the shards of a run to workers, and merge them in the order of the images.

    Every worker opens the files of the request under the same paths, as on a shared file system, and has the same
    version of this package. Workers with different processors may round differently.

    A scheduler that cannot be reached, or workers that die again and again, are a `ConvertError`; any `EdgeError` of a
    worker is raised here.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed: pip install 'irv2-edge[cluster]'") from error
    images = request.image_set()
    everywhere = replace(
        request,
        candidate=request.candidate.resolve(),
        reference=request.reference.resolve(),
        images=request.images.resolve(),
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
