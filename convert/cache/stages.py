"""The slow stages of a conversion: what each depends on, and how it is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from convert.cache.fingerprint import fingerprint
from convert.cache.store import Key
from convert.drift.models import open_model
from convert.drift.predictions import Predictions, predict_all
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import ImageSet, manifest
from convert.images.preprocessing_check import refuse_wrong_preprocessing
from convert.images.reader import note_skipped
from convert.lowering.lower import FloatModel, LoweredModel, LoweringRequest, lower
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.system.progress import Progress
from edge_runtime.hashing import file_sha256


@dataclass(frozen=True)
class Lowering:
    """Lower a network to a float `.tflite`."""

    request: LoweringRequest

    @property
    def root(self) -> Path:
        """Return the folder of temporary files."""
        return self.request.scratch

    def key(self) -> Key:
        """Return a key of the contents of all inputs, whatever the names and places of their files.

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

    def compute(self, progress: Progress) -> LoweredModel:
        """Return the float network."""
        return lower(self.request, progress)


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

    def _more(self) -> dict[str, Any]:
        return {"labels": self.network.labels, "folders": self.images.folders}


@dataclass(frozen=True)
class FloatPredictions(_OnImages):
    """Run the float network over the validation images; `scratch` is a folder for its file."""

    scratch: Path
    kind: ClassVar[str] = "float answers"

    def compute(self, progress: Progress) -> Predictions:
        """Return its predictions, and note the images that could not be read."""
        path = self.scratch / "float.tflite"
        path.write_bytes(self.network.model)
        with open_model(path, self.network.spec, self.network.labels) as reference:
            predictions = predict_all(reference, self.images, progress, "float reference")
        note_skipped(progress.note, predictions.skipped, self.images)
        return predictions


@dataclass(frozen=True)
class Calibrating(_OnImages):
    """Calibrate the float network. Both networks of the result are kept, since making one takes seconds."""

    held_out: ImageSet | None
    options: CalibrationOptions
    kind: ClassVar[str] = "calibration"

    def compute(self, progress: Progress) -> Calibration:
        """Return what calibration gives."""
        return calibrate(self.network.model, self.network.spec, self.images, self.held_out, self.options, progress)

    def _more(self) -> dict[str, Any]:
        others = None if self.held_out is None else manifest(self.held_out)
        return {"held_out": others, "request": asdict(self.options)}
