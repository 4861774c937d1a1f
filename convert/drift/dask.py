"""The shards of a run on the workers of a dask scheduler; what a dead worker has not delivered is computed again."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from convert.drift.drift import Limits
from convert.drift.run import Measured, Request
from convert.drift.shards import Share, answer_shard, merge
from convert.errors import ConvertError, MissingExtraError
from convert.system.progress import Progress, Silent

IMAGES_A_SHARD = 256
SHARDS_A_WORKER = 4
"""Fewer images, where a worker would else have fewer shards."""
CONNECTION_TIMEOUT_S = 20


def run_on_cluster(address: str, request: Request, limits: Limits, progress: Progress) -> Measured:
    """Map the shards of a run to workers, and merge them in the order of the images.

    Every worker opens the files of the request under the same paths, as on a shared file system, and has the same
    version of this package. Workers with other processors may round otherwise.

    Args:
        address: of the scheduler, such as tcp://host:8786.
        request: what to compare.
        limits: of the gate.
        progress: told how many images are done.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        ConvertError: the scheduler cannot be reached, or workers died again and again.
        EdgeError: what a worker refused.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed: pip install 'irv2-edge[cluster]'") from error
    images = request.image_set()
    everywhere = replace(
        request,
        **{key: getattr(request, key).resolve() for key in ("candidate", "reference", "images")},
    )
    with _connected(distributed, address) as client:
        workers = max(1, len(client.nthreads()))
        count = max(1, -(-len(images) // IMAGES_A_SHARD), min(SHARDS_A_WORKER * workers, len(images)))
        shares = [Share(number + 1, count) for number in range(count)]
        futures = client.map(_answer, [everywhere] * count, shares, pure=False)
        share_of = dict(zip(futures, shares, strict=True))
        try:
            for _ in progress.track(_done(distributed, share_of, len(images)), "comparing", len(images)):
                pass
            shards = client.gather(futures)
        except distributed.KilledWorker as error:
            raise ConvertError(f"the workers of {address} died again and again: {error}; look at their logs") from error
    shown = {key: str(getattr(request, key)) for key in ("candidate", "reference", "images")}
    return merge(
        {f"shard {share}": {**shard, "paths": shown} for share, shard in zip(shares, shards, strict=True)}, limits
    )


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=CONNECTION_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConvertError(
            f"--scheduler {address} cannot be reached ({error}): pass tcp://HOST:PORT of a dask scheduler"
        ) from error
    with client:
        yield client


def _done(distributed: Any, share_of: dict[Any, Share], total: int) -> Iterator[int]:
    """Yield the position of each image among `total` as the shards it belongs to are answered."""
    for future in distributed.as_completed(share_of):
        yield from share_of[future].positions(total)


def _answer(request: Request, share: Share) -> dict[str, Any]:
    """What a worker does."""
    return answer_shard(request, share, Silent())
