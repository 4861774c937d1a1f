"""What the worker does: lower a network, compare it with Keras, and answer its parent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.errors import LoweringError, MissingExtraError
from convert.images.conventions import input_spec
from convert.keras_models.sources import ModelSource
from convert.lowering.keras_comparison import keras_logits, tflite_logits
from convert.lowering.lower import Failure, LoweringRequest
from convert.lowering.worker import lower_here
from convert.system.installation import not_installed
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, head_of
from edge_runtime.preprocess import load_pixels, normalize
from tests.convert.lowering.endings import ENDS, SHAPE, SIGMOIDS, loaded
from tests.convert.lowering.keras_inception import narrow_inception_resnet


def pictures(folder: Path, count: int = 3) -> tuple[Path, ...]:
    random = np.random.default_rng(5)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, SHAPE, np.uint8)).save(folder / f"{i}.png")
    return tuple(sorted(folder.glob("*.png")))


@pytest.mark.parametrize(
    "name",
    [*("softmax, then reshapes", "nested twice", "convolution with softmax", "logits of a global pool"), *SIGMOIDS],
)
def test_such_networks_are_lowered_faithfully(name: str, tmp_path: Path) -> None:
    model = loaded({**ENDS, **SIGMOIDS}[name], tmp_path)
    images = pictures(tmp_path)
    request = LoweringRequest(ModelSource(str(tmp_path / "model.keras")), "tf", images, tmp_path)
    result = lower_here(request, print)
    assert result.keras_sqnr_db >= 100
    assert result.head == head_of(TfliteGraph(result.model)) == ("independent" if name in SIGMOIDS else "softmax")
    assert (result.spec.height, result.spec.width, result.classes) == (9, 8, 4)
    spec = input_spec("tf", 9, 8)
    tensors = normalize(np.stack([load_pixels(path, spec) for path in images]), spec)
    engine = RecordingEngine(result.model)
    answers = np.stack([engine.run(tensor[np.newaxis])[0] for tensor in tensors])
    assert np.allclose(answers, model.predict_on_batch(tensors), atol=1e-6)
    assert np.allclose(tflite_logits(result.model, tensors), keras_logits(model, tensors), atol=1e-4)


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    loaded(ENDS["dense with softmax"], tmp_path)
    readable = pictures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    source = ModelSource(str(tmp_path / "model.keras"))
    request = LoweringRequest(source, "tf", (tmp_path / "broken.png", *readable), tmp_path)
    assert lower_here(request, print).keras_sqnr_db > 100
    with pytest.raises(LoweringError, match=r"no image to compare Keras and TFLite on: .*broken\.png"):
        lower_here(LoweringRequest(source, "tf", (tmp_path / "broken.png",), tmp_path), print)


def test_keras_own_topology_lowers_with_its_residual_scaling_folded(tmp_path: Path) -> None:
    """Each branch is multiplied by 0.17, 0.1 or 0.2 before its sum: multiplications that need no operator."""
    theirs = narrow_inception_resnet(most_blocks=1)
    theirs.save(tmp_path / "theirs.keras")
    images = pictures(tmp_path, 2)
    lowered = lower_here(LoweringRequest(ModelSource(str(tmp_path / "theirs.keras")), "tf", images, tmp_path), print)
    assert lowered.keras_sqnr_db > 80
    assert {operator.name for operator in TfliteGraph(lowered.model).operators} == {
        "CONV_2D", "CONCATENATION", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX",
    }  # fmt: skip
    engine, spec = RecordingEngine(lowered.model), input_spec("tf", 75, 75)
    for path in images:
        image = normalize(load_pixels(path, spec), spec)[np.newaxis]
        np.testing.assert_allclose(engine.run(image), np.asarray(theirs(image)), atol=1e-4)


def test_without_tensorflow_the_extra_is_named() -> None:
    """`irv2-drift --reference X.keras` with the [drift] extra alone."""
    code = """
import sys
from multiprocessing import Pipe
from pathlib import Path
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweringRequest
from convert.lowering.worker import serve
sys.modules['tensorflow'] = None
ours, theirs = Pipe()
ours.send(LoweringRequest(ModelSource('a.keras'), 'tf', (), Path('.')))
serve(theirs)
print(ours.recv(), repr(ours.recv()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error = Failure(MissingExtraError, not_installed("tensorflow", "convert"))
    assert done.stdout == f"loading TensorFlow {error!r}\n"
