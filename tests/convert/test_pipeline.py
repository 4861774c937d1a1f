"""What the schemes of several runs share."""

from __future__ import annotations

from pathlib import Path

from convert.checking import check
from convert.job import Job
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import COMPARED_WITH_KERAS
from convert.preparation import agreement, lowering_request, wrong_labels
from convert.quantization.schemes import SCHEMES


def test_the_float_network_is_compared_on_the_same_pictures_whatever_is_made_of_it(tmp_path: Path) -> None:
    """Or another scheme would not find it in the cache."""
    jobs = [
        Job(ModelSource(), (SCHEMES[scheme],), validate=validate, validation_size=size)
        for scheme in ("int8", "float16")
        for validate, size in ((True, 1000), (True, 50), (False, 1000))
    ]
    asked = {lowering_request(job, check(job), tmp_path).images for job in jobs}
    assert len(asked) == 1
    assert len({path.parent for path in asked.pop()}) == COMPARED_WITH_KERAS, "pictures of different classes"


def test_labels_without_the_background_say_so(tmp_path: Path) -> None:
    job = Job(ModelSource("mine.keras"), (SCHEMES["int8"],), labels=tmp_path / "labels.txt")
    message = f"--labels {tmp_path}/labels.txt has 2 labels, the network has 3 classes"
    assert wrong_labels(job, 2, 3, ("background", "1", "2")) == (
        f"{message}: its class 0 is the background; put a line 'background' before the others"
    )
    assert wrong_labels(job, 2, 3).startswith(f"{message}: pass one for each class; if")
    four = f"--labels {tmp_path}/labels.txt has 4 labels, the network has 3 classes: pass one for each class; take out"
    assert wrong_labels(job, 4, 3, ("background", "1", "2")).startswith(four)


def test_wrong_labels_of_a_demo_that_nobody_asked_for_name_it(tmp_path: Path) -> None:
    job = Job(ModelSource(), (SCHEMES["int8"],), labels=tmp_path / "labels.txt")
    named = "has 2 labels, the bundled demo, since there is no --model, has 10 classes"
    assert named in wrong_labels(job, 2, 10)


def test_agreement_is_with_what_was_given(tmp_path: Path) -> None:
    graph, folder = tmp_path / "mine.tflite", tmp_path / "theirs"
    graph.write_bytes(b"\0\0\0\0TFL3")
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    assert agreement(ModelSource(), 999.0) == "float TFLite agrees with Keras to 999 dB"
    assert agreement(ModelSource(str(graph)), 999.0) == "float TFLite equals mine.tflite"
    assert agreement(ModelSource(str(folder)), 121.4) == "float TFLite agrees with theirs to 121 dB"
