"""Logits of a model with integer answers, read where its softmax or sigmoids read them.

A softmax in 256 steps says nothing of a class below half a step, so the SQNR of what it answers is lower than that of
the network, and comparable with no other. The tensor in front of it has steps of its own, and tells all classes apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from convert.drift.models import ModelPredictor
from convert.errors import LoweringError
from convert.images.dataset import ImageSet
from convert.images.reader import PixelReader
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor
from edge_runtime import Classifier
from edge_runtime.arrays import Array
from edge_runtime.tensors import dequantize

MOST_IMAGES = 100
"""Images that logits are read of: a second run of the model, on one interpreter."""


def tensor_logits(candidate: ModelPredictor, images: Sequence[Path]) -> Array | None:
    """Return what the head of a model with integer answers was given, float32 (images, classes).

    The first `MOST_IMAGES` of the images are run, all of which can be read. None for a model whose answers are floats,
    since those tell its logits, and for one that ends in something else than a softmax or sigmoids.
    """
    if not candidate.step:
        return None
    graph = TfliteGraph(candidate.path.read_bytes())
    try:
        index = logits_tensor(graph)
    except LoweringError:
        return None
    affine, shipped = graph.quantization(index), candidate.classifier
    engine, few = RecordingEngine(candidate.path), tuple(images[:MOST_IMAGES])
    rows = []
    with Classifier(shipped.model, [engine], replace(shipped.receipt, workers=1)) as classifier:
        for _, pixels in PixelReader(candidate.spec).read(ImageSet(candidate.path.parent, few, None)):
            classifier.run(pixels)
            values = engine.tensor(index)[0]
            rows.append(values if affine is None else dequantize(values, *affine))
    found = np.asarray(rows, np.float32).reshape(len(rows), -1)
    return found if found.shape == (len(few), len(candidate.labels)) else None
