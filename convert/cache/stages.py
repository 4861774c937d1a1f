"""The slow stages of a conversion: what each depends on, how it is computed, and how its result is written down.

No pickles: JSON, plain arrays in `.npz`, and flatbuffers as they are.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from convert.cache.fingerprint import fingerprint
from convert.cache.stage_cache import ROOT, Encoded, moved
from convert.cache.store import Entry, Key
from convert.drift import drift
from convert.drift.drift import Predictions
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import ImageSet, note_skipped
from convert.images.preprocessing_check import refuse_wrong_preprocessing
from convert.lowering.float_model import FloatModel
from convert.lowering.lower import LoweredModel, LoweringRequest, lower
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.evaluation import Evaluator
from convert.quantization.statistics import ActivationStatistics
from convert.system.progress import Progress
from edge_runtime.arrays import Array
from edge_runtime.hashing import file_sha256


@dataclass(frozen=True)
class Lowering:
    """Lower a network to a float `.tflite`; a recalled one is in memory alone, nothing lies at its path."""

    request: LoweringRequest
    root: ClassVar[None] = None

    def key(self) -> Key:
        """Return the contents of all inputs; neither the places nor the names of files are part of it.

        Our own networks are pinned in our code, the downloaded one by its hash there, and so by the fingerprint.
        """
        source, preprocessing = self.request.source, self.request.preprocessing
        fields = {
            "source": {
                "content": source.model if source.file is None else file_sha256(source.file),
                "suffix": None if source.file is None else source.file.suffix.lower(),
                "is_whole_model": source.weights is None,
                "classes": source.classes,
                "input_size": source.input_size,
            },
            "preprocessing": preprocessing if preprocessing in CONVENTIONS else file_sha256(Path(preprocessing)),
            "images": [file_sha256(path) for path in self.request.images],
            "versions": fingerprint(),
        }
        return Key("float network", source.name, fields)

    def compute(self, progress: Progress) -> tuple[LoweredModel, bytes]:
        """Return the float network and its flatbuffer."""
        lowered = lower(self.request, progress.stage)
        return lowered, lowered.path.read_bytes()

    def encode(self, result: tuple[LoweredModel, bytes]) -> Encoded:
        """Return all values, and the flatbuffer as `model.tflite`."""
        lowered, model = result
        return {"lowered": {**vars(lowered), "path": None}}, {"model.tflite": model}

    def decode(self, entry: Entry) -> tuple[LoweredModel, bytes]:
        """Return what `encode` was given, with the path of this request."""
        lowered = entry.values["lowered"]
        labels = None if lowered["labels"] is None else tuple(lowered["labels"])
        return LoweredModel(**{**lowered, "path": self.request.output, "labels": labels}), entry.parts["model.tflite"]


@dataclass(frozen=True)
class _OnImages:
    """What a float network called `name` does with images."""

    name: str
    network: FloatModel
    images: ImageSet
    kind: ClassVar[str]

    @property
    def root(self) -> Path:
        """Return the folder of the images."""
        return self.images.root

    def key(self) -> Key:
        """Return network, preprocessing, images and whatever else it depends on."""
        fields = {"model": self.network.sha256, "spec": self.network.spec.to_json(), "images": manifest(self.images)}
        more = {**self._more(), "versions": fingerprint()}
        return Key(self.kind, f"{self.name}, {len(self.images)} images", {**fields, **more})

    def _more(self) -> dict[str, Any]:
        return {"labels": self.network.labels}


@dataclass(frozen=True)
class PreprocessingCheck(_OnImages):
    """Refuse a wrong preprocessing; only that it was not refused is kept, since an error is no result."""

    kind: ClassVar[str] = "preprocessing check"

    def compute(self, progress: Progress) -> None:
        """Raise the refusal."""
        refuse_wrong_preprocessing(self.network.model, self.network.spec, self.network.labels, self.images)

    def encode(self, result: None) -> Encoded:
        """Return nothing."""
        return {}, {}

    def decode(self, entry: Entry) -> None:
        """Do nothing."""

    def _more(self) -> dict[str, Any]:
        return {"labels": self.network.labels, "folders": self.images.folders}


@dataclass(frozen=True)
class FloatPredictions(_OnImages):
    """Run the float network over the validation images."""

    kind: ClassVar[str] = "float answers"

    def compute(self, progress: Progress) -> Predictions:
        """Return its predictions, and note the images that could not be read."""
        path = self.network.lowered.path
        if not path.exists():  # the network was recalled
            path.write_bytes(self.network.model)
        with drift.open_for_many(path, self.network.spec, self.network.labels) as classifier:
            predictions = drift.answer(classifier, self.images, progress, "float reference")
        note_skipped(progress.note, predictions.skipped, self.images)
        return predictions

    def encode(self, result: Predictions) -> Encoded:
        """Return the images' names below their folder, and the probabilities as `probabilities.npz`."""
        values = {
            "images": [path.relative_to(self.root).as_posix() for path in result.paths],
            "skipped": [moved(text, self.root, ROOT) for text in result.skipped],
            "step": result.step,
        }
        return values, {"probabilities.npz": _npz({"probabilities": result.probabilities})}

    def decode(self, entry: Entry) -> Predictions:
        """Return what `encode` was given, with the images where they are now."""
        return Predictions(
            tuple(self.root / name for name in entry.values["images"]),
            _arrays(entry.parts["probabilities.npz"])["probabilities"],
            self.network.labels,
            tuple(moved(text, ROOT, self.root) for text in entry.values["skipped"]),
            entry.values["step"],
        )


@dataclass(frozen=True)
class Calibrating(_OnImages):
    """Calibrate the float network; both networks of the result are kept, since making one takes seconds."""

    held_out: ImageSet | None
    options: CalibrationOptions
    kind: ClassVar[str] = "calibration"

    def compute(self, progress: Progress) -> Calibration:
        """Return what calibration gives."""
        return calibrate(self.network.model, self.network.spec, self.images, self.held_out, self.options, progress)

    def encode(self, result: Calibration) -> Encoded:
        """Return the networks as `.tflite` files and all arrays in `arrays.npz`."""
        values = {name: getattr(result, name) for name in ("calibrator", "tried", "manifest_sha256")}
        names = list(result.statistics.mean)
        arrays = {"pixels": np.stack(result.pixels), **_statistics_arrays(result.statistics, names)}
        if result.evaluator is not None:
            arrays["held_out"] = np.stack(result.evaluator.images)
            arrays["probabilities"] = result.evaluator.probabilities
        parts = {"equalized.tflite": result.equalized, "rounded.tflite": result.rounded, "arrays.npz": _npz(arrays)}
        return {**values, "tensors": names}, parts

    def decode(self, entry: Entry) -> Calibration:
        """Return what `encode` was given."""
        values, arrays = entry.values, _arrays(entry.parts["arrays.npz"])
        evaluator = None
        if "held_out" in arrays:
            evaluator = Evaluator(list(arrays["held_out"]), self.network.spec, arrays["probabilities"])
        return Calibration(
            entry.parts["equalized.tflite"],
            entry.parts["rounded.tflite"],
            _statistics(arrays, values["tensors"]),
            list(arrays["pixels"]),
            evaluator,
            values["calibrator"],
            values["tried"],
            values["manifest_sha256"],
        )

    def _more(self) -> dict[str, Any]:
        others = None if self.held_out is None else manifest(self.held_out)
        return {"held_out": others, "request": asdict(self.options)}


BY_CHANNEL = ("minimum", "maximum", "mean")


def _statistics_arrays(statistics: ActivationStatistics, names: list[str]) -> dict[str, Array]:
    """Join the arrays of all tensors: hundreds of small ones would take a second to read."""
    joined = {each: np.concatenate([getattr(statistics, each)[name] for name in names]) for each in BY_CHANNEL}
    channels = np.array([len(statistics.mean[name]) for name in names])
    return {**joined, "channels": channels, "logits": statistics.logits, "extremes": statistics.extremes}


def _statistics(arrays: Mapping[str, Array], names: list[str]) -> ActivationStatistics:
    ends = np.cumsum(arrays["channels"])[:-1]
    by_name = {each: dict(zip(names, np.split(arrays[each], ends), strict=True)) for each in BY_CHANNEL}
    return ActivationStatistics(**by_name, logits=arrays["logits"], extremes=arrays["extremes"])


def manifest(images: ImageSet) -> list[tuple[str, str]]:
    """Return the name below the folder and the SHA-256 of each image, in order."""
    return [(path.relative_to(images.root).as_posix(), file_sha256(path)) for path in images.paths]


def _npz(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _arrays(data: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
