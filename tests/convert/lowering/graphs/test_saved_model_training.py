"""What a SavedModel has left of its training is left out, or refused where answers depend on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from convert.errors import SourceError
from convert.lowering.graphs.saved_model_graph import loadable
from convert.lowering.graphs.saved_model_training import REMOVED
from tests.convert.lowering.graphs.foreign import (
    FOREIGN,
    HEIGHT,
    WIDTH,
    images,
    logits,
)
from tests.convert.lowering.graphs.saved_models import answers, opened, saved


def test_augmentation_that_keras_exports_is_left_out(tmp_path: Path) -> None:
    """`model.export` leaves it active, with its seeds; `model.predict` does not do it."""
    image = keras.Input((HEIGHT, WIDTH, 3))
    augmentation = keras.Sequential(
        [layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.3), layers.RandomContrast(0.3)]
    )
    x = layers.Rescaling(1 / 127.5, -1)(augmentation(image))
    x = keras.Sequential([layers.Conv2D(8, 3, activation="relu"), layers.Flatten()], name="base")(x)
    model = keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    model.export(tmp_path / "exported", verbose=False)
    network, pixel = opened(tmp_path / "exported"), np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH, 3))
    left_out, *folded = network.front
    assert re.fullmatch(
        r"left out: random_flip\w*, random_rotation\w*, random_zoom\w*, random_contrast\w*, augmentation, which the "
        "SavedModel still does",
        left_out,
    )
    assert len(folded) == 2
    expected = model.predict(pixel.astype(np.float32), verbose=0)[:, 0]
    normalized = (pixel / 127.5 - 1).astype(np.float32)
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), normalized)[:, 1], expected, atol=1e-5)
    with loadable(tmp_path / "exported", "serving_default") as copy:
        functions = SavedModel.FromString((copy / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def.library
    called = next(each for each in functions.function if each.signature.name.startswith("__inference___call__"))
    assert not {node.op for node in called.node_def} & REMOVED


def test_random_answers_are_refused(tmp_path: Path) -> None:
    def noisy(picture: Any) -> dict[str, Any]:
        scores = logits(picture)
        return {"scores": scores + tf.random.stateless_uniform(tf.shape(scores), (1, 2))}

    with pytest.raises(SourceError, match=r"theirs gives other answers each time: it draws random numbers \(state"):
        opened(saved(tmp_path / "theirs", serving_default=noisy))


class Counting(tf.Module):  # type: ignore[misc]
    """A classifier that counts its calls, and may answer by that."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.calls, self.counts = tf.Variable(0.0), counts

    @tf.function(input_signature=[tf.TensorSpec((None, HEIGHT, WIDTH, 3), name="picture")])  # type: ignore[untyped-decorator]
    def answer(self, picture: Any) -> dict[str, Any]:
        self.calls.assign_add(1.0)
        return {"scores": logits(picture) * self.calls if self.counts else logits(picture)}


def test_an_assignment_counts_if_an_answer_reads_its_variable(tmp_path: Path) -> None:
    for counts in (False, True):
        module = Counting(counts)
        tf.saved_model.save(module, str(tmp_path / f"{counts}"), signatures=module.answer)
    x = images()
    found = answers(opened(tmp_path / "False").to_tflite(tmp_path, print), x)
    np.testing.assert_allclose(found, FOREIGN["logits"].probabilities(x), atol=1e-6)
    with pytest.raises(
        SourceError, match=r"True is not run: its answers may depend on a variable that it assigns \(As"
    ):
        opened(tmp_path / "True")


def test_moments_of_an_optimizer_that_tensorflow_no_longer_has(tmp_path: Path) -> None:
    """As TensorFlow up to 2.10 saved a model that was trained: an object `optimizer` with variables for others."""
    path = FOREIGN["any batch"].saved(tmp_path / "trained") / "saved_model.pb"
    saved_model = SavedModel.FromString(path.read_bytes())
    objects = saved_model.meta_graphs[0].object_graph_def.nodes
    objects[0].children.add(node_id=len(objects), local_name="optimizer")
    first = len(objects)
    optimizer, weight, moment = (objects.add() for _ in range(3))
    optimizer.user_object.identifier = "optimizer"
    weight.user_object.identifier = moment.user_object.identifier = "_generic_user_object"
    optimizer.slot_variables.add(original_variable_node_id=first + 1, slot_name="m", slot_variable_node_id=first + 2)
    path.write_bytes(saved_model.SerializeToString())
    with pytest.raises(Exception, match="add_slot"):
        tf.saved_model.load(str(path.parent))
    x = images()
    found = answers(opened(path.parent).to_tflite(tmp_path, print), x)
    np.testing.assert_allclose(found, FOREIGN["any batch"].probabilities(x), atol=1e-6)
