"""Convert Keras image classifiers to judged `.tflite` artifacts: the Python API for notebooks and scripts.

    from convert import convert_model

    (outcome,) = convert_model(model, preprocessing="tf", labels=["cat", "dog"],
                               calibration=photos, validation={"cat": cats, "dog": dogs})
    print(outcome.gate.verdict, outcome.path)

`__all__` is what is stable; everything else may move. Nothing heavy is imported before it is needed. To see how a
conversion works, read `pipeline`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from convert.audit.inspection import Inspection
    from convert.drift.run import DriftRun
    from convert.images.folder import Images
    from convert.keras_models.sources import ModelSource
    from convert.reporting.outcome import Outcome
    from convert.statistics.verdict import Limits
    from convert.system.progress import Progress

__all__ = [
    "DriftRun",
    "Inspection",
    "Limits",
    "ModelSource",
    "Outcome",
    "audit_model",
    "convert_model",
    "inception_resnet_v2",
    "measure_drift",
    "progress_bar",
]
_HOMES = {
    "DriftRun": "convert.drift.run",
    "Inspection": "convert.audit.inspection",
    "Limits": "convert.statistics.verdict",
    "ModelSource": "convert.keras_models.sources",
    "Outcome": "convert.reporting.outcome",
}
"""Class of the API -> the module that defines it, imported when the class is first asked for."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def convert_model(
    model: keras.Model | ModelSource | str | Path = "demo",
    *,
    schemes: str = "int8",
    calibration: Images | None = None,
    validation: Images | None = None,
    labels: Sequence[str] | Path | None = None,
    preprocessing: str | None = None,
    output_dir: str | Path = "build",
    progress: Progress | None = None,
    **options: Any,
) -> list[Outcome]:
    """Convert an image classifier, and judge the result against it, as `irv2-convert` does.

        (outcome,) = convert_model("mine.keras", preprocessing="torch", io="float32", labels=Path("labels.txt"),
                                   calibration="photos/calibration", validation="photos/validation")

    Args:
        model: a Keras model, or a `tf.Module` with a signature; or the path of a Keras file, a SavedModel folder or a
            float `.tflite`; "demo" or "imagenet"; or a `ModelSource` with weights.
        schemes: as `--quantize` takes them.
        calibration, validation: a folder; a list of images, each a path or a uint8 array (height, width, 3) in RGB;
            or a dictionary from label to such a list, which lets accuracy be measured.
        labels: names of the classes, in the network's order, or a file of them, as `--labels` takes it.
        preprocessing: "tf", "caffe", "torch", "unit", "none" or the path of a JSON file; not needed where the
            model scales its pixels itself.
        output_dir: the folder of artifacts and reports.
        progress: told what happens; None for silence.
        options: further fields of `convert.job.Job`, such as `io`, `calibrator` or `limits`.

    Returns:
        An outcome for each artifact, in the order of the schemes.

    Raises:
        EdgeError: something does not work; the message names the value and the next step.
    """
    from convert.images.folder import image_folder
    from convert.job import Job
    from convert.pipeline import convert
    from convert.quantization.schemes import parse_schemes
    from convert.system.progress import Silent

    with tempfile.TemporaryDirectory(prefix="irv2-") as folder:
        scratch, progress = Path(folder), progress or Silent()
        job = Job(
            _source(model, scratch, progress),
            tuple(parse_schemes(schemes)),
            labels=_label_file(labels, scratch),
            preprocessing=preprocessing,
            output_dir=Path(output_dir),
            calibration=None if calibration is None else image_folder(calibration, scratch / "calibration"),
            validation=None if validation is None else image_folder(validation, scratch / "validation"),
            **options,
        )
        return convert(job, progress)


def inception_resnet_v2(input_shape: tuple[int, int, int] = (299, 299, 3), classes: int = 1000) -> keras.Model:
    """Build the network of the article, with fresh weights: an image in [-1, 1] to probabilities.

        model = inception_resnet_v2((299, 299, 3), classes=12)

    Raises:
        ValueError: the input is smaller than the network can take.
    """
    from convert.keras_models.inception_resnet_v2 import inception_resnet_v2 as build

    return build(input_shape, classes)


def audit_model(path: str | Path) -> Inspection:
    """Inspect any `.tflite`: what computes in what, and what is wrong with it, as `irv2-inspect --json` says.

        audit_model("mine.tflite").verdict.kind  # "int8", "mixed", "dynamic", ...

    Raises:
        EdgeError: it is missing, damaged or not a TFLite model.
    """
    from convert.audit.inspection import inspect_file

    return inspect_file(Path(path)).inspection


def measure_drift(
    candidate: str | Path,
    reference: str | Path,
    images: Images,
    *,
    preprocessing: str | None = None,
    labels: Sequence[str] | None = None,
    image_labels: Path | None = None,
    limits: Limits | None = None,
    stop_early: bool = False,
    progress: Progress | None = None,
) -> DriftRun:
    """Measure how far a `.tflite` is from its reference, and judge it, as `irv2-drift` does.

        measure_drift("mine.int8.tflite", "mine.none.tflite", "photos").assessment.gate.verdict

    Args:
        candidate: an artifact, or another `.tflite`.
        reference: an artifact, another `.tflite`, a Keras file, a SavedModel folder, or stored predictions (`.npz`).
        images: see `convert_model`.
        preprocessing, labels: of models without a card.
        image_labels: a CSV file of the images' labels.
        limits: of the verdict; None for the usual ones.
        stop_early: whether to stop at the first image at which the verdict is certain.
        progress: told what happens; None for silence.

    Raises:
        EdgeError: something does not work; the message names the value and the next step.
    """
    from convert.drift.models import ModelOptions
    from convert.drift.run import DriftRequest, run
    from convert.images.folder import image_folder
    from convert.reporting.notebook import NotebookRun
    from convert.statistics.verdict import Limits
    from convert.system.progress import Silent

    options = ModelOptions(preprocessing, None if labels is None else tuple(labels))
    with tempfile.TemporaryDirectory(prefix="irv2-") as folder:
        request = DriftRequest(
            Path(candidate),
            Path(reference),
            image_folder(images, Path(folder) / "images"),
            options=options,
            image_labels=image_labels,
        )
        return NotebookRun(**vars(run(request, limits or Limits(), stop_early, progress or Silent())))


def progress_bar() -> AbstractContextManager[Progress]:
    """Show progress as the commands do: bars in a terminal and in a notebook that has ipywidgets, else lines.

    with progress_bar() as progress:
        convert_model("mine.keras", ..., progress=progress)
    """
    from convert.cli.progress import shown_progress

    return shown_progress(quiet=False)


def _source(model: Any, scratch: Path, progress: Progress) -> ModelSource:
    """Return where the network comes from; a model in memory is saved first."""
    from convert.keras_models.sources import ModelSource

    if isinstance(model, ModelSource):
        return model
    if isinstance(model, str | Path):
        return ModelSource(str(model))
    from convert.keras_models.in_memory import save_model

    path, chosen = save_model(model, scratch)
    if chosen:
        progress.note(chosen)
    return ModelSource(str(path))


def _label_file(labels: Sequence[str] | Path | None, scratch: Path) -> Path | None:
    if labels is None or isinstance(labels, Path):
        return labels
    path = scratch / "labels.json"  # of a list, nothing has to be recognised
    path.write_text(json.dumps(list(labels)), "utf-8")
    return path
