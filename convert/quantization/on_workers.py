"""Measure calibration images on the workers of a dask scheduler: images travel there, what is kept of them back."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from convert.quantization.statistics import Gauge, MeasuredImage, Measurements, sampled_every
from convert.system.cluster import connected, map_in_order, threads_of_worker
from convert.tflite.interpreter import InterpreterPool, RecordingEngine
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize

IMAGES_A_CHUNK = 4
"""Images that travel together: at 299 pixels a megabyte, and back come a few for each image."""


@dataclass(frozen=True)
class Chunk:
    """Some images, one behind the other, and the number of the first."""

    first: int
    images: Sequence[Pixels]


class CopyingEngine(RecordingEngine):
    """A recording whose views are copies: the profiler of a worker holds on to frames, and to the views in them."""

    def view(self, index: int) -> Array:
        """Return a copy of a tensor of the last run."""
        return self.tensor(index)


class NetworkOfWorkers:
    """A float network that travels to workers, each of which opens its interpreters once, for all its chunks.

    Of an image whose number `every` does not divide nobody keeps the rows, see `sampled_every`: they stay there.
    """

    def __init__(self, model: bytes, spec: InputSpec, every: int) -> None:
        self._travels = model, spec, every
        self._opening = threading.Lock()
        self._opened: tuple[InterpreterPool[CopyingEngine], Gauge] | None = None

    def __reduce__(self) -> tuple[type[NetworkOfWorkers], tuple[bytes, InputSpec, int]]:
        """Leave the interpreters where they are."""
        return NetworkOfWorkers, self._travels

    def measure(self, chunk: Chunk) -> bytes:
        """Return what is kept of each image, as a pickled list, which travels faster than thousands of arrays."""
        (_, spec, every), found = self._travels, []
        interpreters, gauge = self._open()
        with interpreters.lent() as engine:
            for number, pixels in enumerate(chunk.images, chunk.first):
                engine.run(normalize(pixels, spec)[None])
                measured = gauge.measure(engine, number)
                found.append(measured.without_rows() if number % every else measured)
        return pickle.dumps(found)

    def _open(self) -> tuple[InterpreterPool[CopyingEngine], Gauge]:
        with self._opening:
            if self._opened is None:
                model = self._travels[0]
                engines = InterpreterPool(lambda threads: CopyingEngine(model, threads), threads_of_worker())
                self._opened = engines, Gauge(model)
            return self._opened


def measure_on_workers(
    address: str, float_model: bytes, images: Iterable[Pixels], spec: InputSpec, fewest: int
) -> Measurements:
    """Measure images on the workers of a scheduler, which have the same version of this package; see `Measure`.

    Workers with other processors may round differently. For errors, see `connected`.
    """
    network = NetworkOfWorkers(float_model, spec, sampled_every(fewest))
    with connected(address) as client:
        for pickled in map_in_order(client, NetworkOfWorkers.measure, network, _chunks(images)):
            measured: list[MeasuredImage] = pickle.loads(pickled)
            yield from measured


def _chunks(images: Iterable[Pixels]) -> Iterator[Chunk]:
    numbered = enumerate(images)
    while chunk := list(islice(numbered, IMAGES_A_CHUNK)):
        yield Chunk(chunk[0][0], [pixels for _, pixels in chunk])
