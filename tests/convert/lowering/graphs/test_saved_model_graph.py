"""SavedModel folders are not run unless their graph is what classifiers are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from convert.errors import SourceError
from convert.keras_models.sources import ModelSource
from convert.lowering.graphs.saved_model_graph import _refuse_resources
from convert.lowering.networks import open_network
from tests.convert.lowering.graphs.foreign import (
    CLASSES,
    IMAGE,
    logits,
)
from tests.convert.lowering.graphs.saved_models import opened, saved, small


def with_file(picture: Any) -> dict[str, Any]:
    secret = tf.strings.length(tf.io.read_file("/etc/hostname"))
    return {"scores": logits(picture) + tf.cast(secret, tf.float32)}


def with_writing(picture: Any) -> dict[str, Any]:
    tf.io.write_file("written", "x")
    return {"scores": logits(picture)}


def with_python(picture: Any) -> dict[str, Any]:
    return {"scores": tf.py_function(lambda x: x, [logits(picture)], tf.float32)}


def with_branch(picture: Any) -> dict[str, Any]:
    """A file read deep inside a function that a branch calls."""
    pattern = tf.cond(tf.reduce_sum(picture) > 0, lambda: tf.size(tf.io.matching_files("/*")), lambda: 0)
    return {"scores": logits(picture) + tf.cast(pattern, tf.float32)}


def with_augmentation_that_writes(picture: Any) -> dict[str, Any]:
    """A file written in a layer that would be taken out."""
    with tf.name_scope("random_flip"):
        number = tf.random.stateless_uniform((), (1, 2))
        with tf.control_dependencies([tf.io.write_file("written", "x")]):
            flipped = tf.where(number > 0.5, tf.reverse(picture, [2]), picture)
    return {"scores": logits(flipped)}


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (with_file, "ReadFile"),
        (with_writing, "WriteFile"),
        (with_python, "EagerPyFunc"),
        (with_branch, "MatchingFiles"),
        (with_augmentation_that_writes, "WriteFile"),
    ],
)
def test_a_graph_that_touches_more_than_numbers_is_not_run(
    function: Any, operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.saved_model, "load", None)
    folder = saved(tmp_path / "theirs", serving_default=function)
    with pytest.raises(SourceError, match=rf"theirs is not run: its graph has the operator {operator} \(.*\), which"):
        opened(folder)


def test_a_table_is_not_made(tmp_path: Path) -> None:
    """Its initializer, which may read a file, would run while the model is loaded."""
    module = tf.Module()
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "names.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, -1
        ), -1,
    )  # fmt: skip
    picture = tf.TensorSpec(IMAGE, name="picture")
    module.answer = tf.function(lambda picture: {"scores": logits(picture)}, input_signature=[picture])
    tf.saved_model.save(module, str(tmp_path / "theirs"), signatures=module.answer)
    with pytest.raises(SourceError, match=r"theirs is not run: it has a table or another resource"):
        opened(tmp_path / "theirs")


def test_folders_that_are_no_saved_model(tmp_path: Path) -> None:
    def refusal(folder: Path) -> str:
        with pytest.raises(SourceError) as caught:
            open_network(ModelSource(str(folder)))
        return str(caught.value).removeprefix(str(folder))

    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty) == " is a folder: a SavedModel has a saved_model.pb in it; pass that folder"
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    assert refusal(damaged).startswith("/saved_model.pb is damaged (")
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "saved_model.pb").touch()
    (hub / "tfhub_module.pb").touch()
    assert "is a module of TensorFlow Hub's first format, which is not supported" in refusal(hub)


def test_variables_that_are_missing(tmp_path: Path) -> None:
    small(layers.Dense(CLASSES)).export(tmp_path / "cut", verbose=False)
    for path in (tmp_path / "cut" / "variables").iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r"cut cannot be loaded by TensorFlow .*"):
        opened(tmp_path / "cut", input_size=11).spec("tf")


def test_what_tflite_lacks_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "theirs", serving_default=lambda picture: {"y": logits(tf.math.erf(picture))})
    with pytest.raises(SourceError, match=r"theirs needs operators that TFLite does not have \(Erf"):
        opened(folder).spec("tf")


def test_constants_are_no_resources_though_tensorflow_2_9_registers_them() -> None:
    graph = MetaGraphDef()
    constant = graph.object_graph_def.nodes.add(registered_name="tf.TrackableConstant")
    constant.constant.operation = "Const"
    _refuse_resources(graph, Path("mine"))
    graph.object_graph_def.nodes.add().resource.device = "cpu"
    with pytest.raises(SourceError, match="mine is not run: it has a table or another resource"):
        _refuse_resources(graph, Path("mine"))
