"""A float network, run over as many labelled images as a question needs, each prepared in one way or another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

from convert.images.dataset import ImageSet
from convert.images.label_order import Labelled, LabelledSets
from convert.images.reader import PixelReader, refuse_unreadable
from convert.system.parallel import in_order
from convert.tflite.interpreter import InterpreterPool
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import SOFTMAX, THRESHOLD
from edge_runtime.tensors import log_probabilities

LEAST_PROBABILITY = 1e-7
"""What a probability of 0 counts as: float32 tells no more beside 1."""

AT_ONCE = 40
"""Images that are decoded at least: of fewer, one that cannot be read would be more than the tenth that is allowed."""

Scores = Callable[[InputSpec, Sequence[Pixels]], Array]
"""What a network answers, (images, classes), for pixels that are scaled as a specification says."""


def scores_of(float_model: bytes) -> Scores:
    """Return the network of a float `.tflite` of batch 1, which is opened when it is first asked.

    It runs once for what several ways of preparing a picture make the same: a square that is fitted, a grey one in
    either order of channels.
    """
    answers = dict[bytes, Array]()

    @cache
    def engines() -> InterpreterPool[Engine]:
        choice = choose_engine("litert")
        return InterpreterPool(lambda threads: Engine(float_model, choice, threads), len(os.sched_getaffinity(0)))

    def answer(tensor: Array) -> Array:
        key = hashlib.blake2b(tensor.tobytes()).digest()
        if key not in answers:
            with engines().lent() as engine:
                answers[key] = engine.run(tensor[np.newaxis])[0]
        return answers[key]

    def scores(tried: InputSpec, pixels: Sequence[Pixels]) -> Array:
        threads = engines().size
        return np.stack(list(in_order(lambda each: answer(normalize(each, tried)), pixels, threads, threads)))

    return scores


@dataclass(frozen=True)
class TrialRuns:
    """What a float network answers for the first images of a set; each is decoded and run once for each way to do so.

    Attributes:
        scores: the network.
        spec: how images are prepared as it is given.
        labels: names of the classes, in the order of its output.
        head: one of `edge_runtime.specs.HEADS`.
        images: labelled ones; all methods take how many of them count. Those that cannot be read are left out; where
            they are more than a tenth, that is an `ImageSetError`.
    """

    scores: Scores
    spec: InputSpec
    labels: tuple[str, ...]
    head: str
    images: ImageSet
    _pixels: dict[InputSpec, dict[int, Pixels]] = field(default_factory=dict)
    _outputs: dict[InputSpec, dict[int, Array]] = field(default_factory=dict)
    _readers: dict[InputSpec, PixelReader] = field(default_factory=dict)
    _decoded: dict[InputSpec, int] = field(default_factory=dict)

    def numbers(self, count: int) -> list[int]:
        """Return the numbers of the images that can be read, among the first so many."""
        return _first(self._read(self.spec, count), count)

    def labelled(self, count: int) -> Labelled | LabelledSets:
        """Return what the images show."""
        shown = [self._truth[i] for i in self.numbers(count)]
        if self.head == SOFTMAX:
            return Labelled(tuple(map(int, shown)), self.images.folders or (), self.labels)
        return LabelledSets(np.array(shown))

    def answers(self, tried: InputSpec, count: int) -> Array:
        """Return what the network answers for each image prepared in another way: its class, or its set of labels."""
        outputs = self._run(tried, count)
        return np.asarray(outputs.argmax(axis=1) if self.head == SOFTMAX else outputs >= THRESHOLD)

    def right(self, tried: InputSpec, count: int) -> Array:
        """Return for each image prepared in another way whether the answer is right, bool (images,)."""
        return self.labelled(count).right(self.answers(tried, count))

    def log_likelihoods(self, tried: InputSpec, count: int) -> Array:
        """Return the natural logarithm of the probability of each image's class if it is prepared in another way."""
        shown = [int(self._truth[i]) for i in self.numbers(count)]
        probabilities = self._run(tried, count)[np.arange(len(shown)), shown]
        return log_probabilities(probabilities, floor=LEAST_PROBABILITY)

    def can_read(self, tried: InputSpec, count: int) -> bool:
        """Return whether all images can be read in another way that can be read in the given one."""
        return _first(self._read(tried, count), count) == self.numbers(count)

    @cached_property
    def _truth(self) -> list[int] | Array:
        truth = self.images.truth(self.labels, self.head)
        assert truth is not None
        return truth

    def _run(self, tried: InputSpec, count: int) -> Array:
        numbers, pixels = self.numbers(count), self._read(tried, count)
        outputs = self._outputs.setdefault(tried, {})
        new = [i for i in numbers if i not in outputs]
        if new:
            step = 1 if tried.channel_order == self.spec.channel_order else -1
            outputs.update(zip(new, self.scores(tried, [pixels[i][..., ::step] for i in new]), strict=True))
        return np.stack([outputs[i] for i in numbers])

    def _read(self, tried: InputSpec, count: int) -> dict[int, Pixels]:
        """Return the pixels of at least the first so many images, of those that can be read."""
        alike = replace(tried, mean=self.spec.mean, std=self.spec.std, channel_order=self.spec.channel_order)
        pixels, done = self._pixels.setdefault(alike, {}), self._decoded.get(alike, 0)
        if done < min(count, len(self.images)):
            until = min(max(count, AT_ONCE), len(self.images))
            reader = self._readers.setdefault(alike, PixelReader(alike))
            pixels.update((done + i, each) for i, each in reader.read(self.images[done:until]))
            refuse_unreadable(reader.skipped, self.images[:until])
            self._decoded[alike] = until
        return pixels


def _first(pixels: dict[int, Pixels], count: int) -> list[int]:
    return [i for i in pixels if i < count]
