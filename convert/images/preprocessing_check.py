"""Check that a float network gets its images the way it was trained on them, and that its labels are in its order.

Neither mistake raises an error: the network answers, and is wrong. Where images are labelled, its accuracy tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, input_spec
from convert.images.dataset import ImageSet, matches
from convert.images.feeding import Scaling
from convert.images.label_order import Labelled, LabelledSets, is_far_better
from convert.images.reader import PixelReader, refuse_unreadable
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import SOFTMAX, THRESHOLD

IMAGES = 40
GOOD_ENOUGH = 0.8
"""Accuracy with the given preprocessing and labels from which on nothing else is tried, unless it is chance."""


def refuse_wrong_preprocessing(
    float_model: bytes,
    spec: InputSpec,
    labels: Sequence[str],
    images: ImageSet | None,
    head: str = SOFTMAX,
    said: InputSpec | None = None,
) -> str | None:
    """Raise `SourceError` if another preprocessing or order of labels makes a network far more accurate.

    The float `.tflite` of batch 1 runs over the first `IMAGES` images, labelled by a file or by their folders, which
    are compared with the labels as `ImageSet.class_indices` does. Nothing is checked without either, or if a folder is
    no label. `head` is one of `edge_runtime.specs.HEADS`. `said` is what the user said, if that differs from `spec`,
    which tells what the network's file makes of such images.

    Returns:
        What to tell if the network guesses and nothing helps; else None.
    """
    if images is None or not images.are_labelled or not _fit(images, labels):
        return None
    few, reader = images[:IMAGES], PixelReader(spec)
    read = list(reader.read(few))
    refuse_unreadable(reader.skipped, few)
    if not read:
        return None
    labelled = _labelled(few, [i for i, _ in read], tuple(labels), head)
    network = _Network(float_model, spec, head, [pixels for _, pixels in read])
    given = labelled.accuracy(network.answers(spec))
    if given >= GOOD_ENOUGH and not labelled.is_chance(given):
        return None
    found, options = max(_tried(network, said or spec, labelled), key=lambda trial: trial[0])
    if is_far_better(found, given):
        raise SourceError(
            f"the float network is right on {given:.0%} of {len(read)} labelled images as they are prepared and named "
            f"now, and on {found:.0%} with {' and '.join(options)}: {_check(options)}"
        )
    if not labelled.is_chance(given):
        return None
    return f"the float network is {labelled.at_chance(given)}: check --preprocessing and the order of --labels"


def _fit(images: ImageSet, labels: Sequence[str]) -> bool:
    """Return whether every class folder is one of the labels, where folders are what counts."""
    if images.image_labels is not None:
        return True
    return all(len(found) == 1 for found in matches(set(images.folders or ()), labels).values())


def _labelled(images: ImageSet, read: Sequence[int], labels: tuple[str, ...], head: str) -> Labelled | LabelledSets:
    """Return what the images of these numbers show."""
    truth = images.truth(labels, head)
    assert truth is not None
    if head == SOFTMAX:
        return Labelled(tuple(int(truth[i]) for i in read), images.folders or (), labels)
    return LabelledSets(np.array([truth[i] for i in read]))


class _Network:
    """A float network and the images to try it on; `answers` are remembered by nobody, since each is asked once."""

    def __init__(self, model: bytes, spec: InputSpec, head: str, pixels: Sequence[Pixels]) -> None:
        self.spec, self._head, self._engine, self._pixels = spec, head, open_engine(model), pixels

    def answers(self, tried: InputSpec) -> Array:
        """Return what the network answers for each image prepared in another way: its class, or its set of labels."""
        step = 1 if tried.channel_order == self.spec.channel_order else -1
        outputs = np.stack(
            list(run_over(self._engine, (normalize(pixels[..., ::step], tried) for pixels in self._pixels)))
        )
        return np.asarray(outputs.argmax(axis=1) if self._head == SOFTMAX else outputs >= THRESHOLD)


def _tried(network: _Network, given: InputSpec, labelled: Labelled | LabelledSets) -> Iterator[tuple[float, list[str]]]:
    """Yield other ways to read a network, those with one difference first: the accuracy, and the options to give."""
    both = []
    for name, spec in [("", network.spec), *_alternatives(network.spec, given)]:
        answers = network.answers(spec)
        if name:
            yield labelled.accuracy(answers), [name]
        better = labelled.best_order(answers)
        if better is not None and not name:
            yield better[0], [better[1].option]
        elif better is not None:
            both.append((better[0], [name, better[1].option]))
    yield from both


def _alternatives(spec: InputSpec, given: InputSpec) -> Iterator[tuple[str, InputSpec]]:
    """Yield other preprocessings in place of `given`, each with the option or words that name it."""
    front = Scaling.between(given, spec)
    for name, convention in CONVENTIONS.items():
        if spec.channels == 3 or convention.serves_grey:
            other = input_spec(name, spec.height, spec.width, spec.channels)
            said = replace(spec, mean=other.mean, std=other.std, channel_order=other.channel_order)
            yield f"--preprocessing {name}", front.behind(said)
    if spec.channels == 1:
        return
    turned = "BGR" if spec.channel_order == "RGB" else "RGB"
    yield f"channels in the order {turned}", replace(spec, channel_order=turned)


def _check(options: Sequence[str]) -> str:
    """Return what to do about the options that would help."""
    wrong = [name for name in ("--preprocessing", "--labels") if any(option.startswith(name) for option in options)]
    return f"check {' and '.join(wrong or ['--preprocessing'])}"
