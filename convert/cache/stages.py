"""The slow stages of a conversion: what each depends on and how it is computed, or what it gave the last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from convert.cache.codec import pack, unpack
from convert.cache.fingerprint import fingerprint
from convert.cache.store import Cache, Key, ago
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

T = TypeVar("T")


@dataclass(frozen=True)
class CacheableStage(Generic[T]):
    """A stage whose result can be kept.

    `root` is the folder that its result and its notes may name, and that may lie elsewhere the next time. `key` returns
    what the result depends on, as it is now, or raises OSError if that cannot be read.
    """

    root: Path
    key: Callable[[], Key]
    compute: Callable[[Progress], T]


@dataclass
class StageCache:
    """Keeps the results of stages in `cache`, unless it is None, and recalls them; `recalled` lists their kinds.

    `progress` is told what the stages tell, also when they are recalled.
    """

    cache: Cache | None
    progress: Progress
    recalled: list[str] = field(default_factory=list)

    def run(self, stage: CacheableStage[T]) -> T:
        """Return the result of a stage, and keep it unless something it was made from has changed meanwhile."""
        if self.cache is None:
            return stage.compute(self.progress)
        try:
            key = stage.key()
        except OSError:  # the stage itself says what is wrong with its inputs
            return stage.compute(self.progress)
        files = self.cache.load(key)
        result: T
        if files is not None:
            result, notes, made = unpack(files, stage.root)
            self.recalled.append(key.kind)
            for note in (f"{key.kind}: from the cache, made {ago(made)}", *notes):
                self.progress.note(note)
            return result
        taker = _NoteTaker(self.progress)
        result = stage.compute(taker)
        try:
            if stage.key().digest == key.digest:
                self.cache.store(key, pack((result, taker.notes, time.time()), stage.root))
            else:
                self.progress.note(f"cache: something changed meanwhile, so the {key.kind} is not kept")
        except (OSError, TypeError, ValueError) as error:
            self.progress.note(f"cache: the {key.kind} is not kept: {error}")
        return result


def lowering(request: LoweringRequest) -> CacheableStage[LoweredModel]:
    """Return the stage that lowers a network to a float `.tflite`.

    It depends on the contents of all inputs, whatever the names and places of their files. Our own networks are pinned
    in our code, the downloaded one by its hash there, and so by the fingerprint.
    """
    source, preprocessing = request.source, request.preprocessing

    def key() -> Key:
        fields = {
            "source": {
                "content": source.sha256() or source.model,
                "suffix": None if source.file is None else source.file.suffix.lower(),
                "is_whole_model": source.weights is None,
                "classes": source.classes,
                "input_size": source.input_size,
                "architecture": source.architecture,
                "labels": source.labels,
            },
            "preprocessing": preprocessing
            if preprocessing is None or preprocessing in CONVENTIONS
            else file_sha256(Path(preprocessing)),
            "images": [file_sha256(path) for path in request.images],
            "versions": fingerprint(),
        }
        return Key("float network", source.name, fields)

    return CacheableStage(request.scratch, key, lambda progress: lower(request, progress))


def preprocessing_check(name: str, network: FloatModel, images: ImageSet) -> CacheableStage[None]:
    """Return the stage that refuses a wrong preprocessing; what it keeps is that this one was not refused."""

    def compute(progress: Progress) -> None:
        note = refuse_wrong_preprocessing(
            network.model, network.spec, network.labels, images, network.head, network.taken
        )
        if note is not None:
            progress.note(note)

    said = None if images.image_labels is None else asdict(images.image_labels)
    more = {
        "labels": network.labels,
        "folders": images.folders,
        "image_labels": said and [said["header"], said["rows"]],
        "given": network.given and network.given.to_json(),
    }
    return _on_images("preprocessing check", name, network, [images], more, compute)


def float_predictions(name: str, network: FloatModel, images: ImageSet, scratch: Path) -> CacheableStage[Predictions]:
    """Return the stage that runs a float network over the validation images; `scratch` is a folder for its file."""

    def compute(progress: Progress) -> Predictions:
        path = scratch / "float.tflite"
        path.write_bytes(network.model)
        with open_model(path, network.spec, network.labels) as reference:
            predictions = predict_all(reference, images, progress, "float reference")
        note_skipped(progress.note, predictions.skipped, images)
        return predictions

    return _on_images("float answers", name, network, [images], {"labels": network.labels}, compute)


def calibrating(
    name: str, network: FloatModel, images: ImageSet, held_out: ImageSet | None, options: CalibrationOptions
) -> CacheableStage[Calibration]:
    """Return the stage that calibrates a float network; both networks of its result are kept: each takes seconds."""

    def compute(progress: Progress) -> Calibration:
        return calibrate(network.model, network.spec, images, held_out, options, progress)

    sets = [images] if held_out is None else [images, held_out]
    return _on_images("calibration", name, network, sets, {"request": asdict(options)}, compute)


def _on_images(
    kind: str,
    name: str,
    network: FloatModel,
    sets: Sequence[ImageSet],
    more: Mapping[str, Any],
    compute: Callable[[Progress], T],
) -> CacheableStage[T]:
    """Return a stage that depends on a network called `name`, its preprocessing, sets of images, and `more`."""
    images = sets[0]

    def key() -> Key:
        files = [manifest(each) for each in sets]
        fields = {"model": network.sha256, "spec": network.spec.to_json(), "images": files, "versions": fingerprint()}
        return Key(kind, f"{name}, {len(images)} images", {**fields, **more})

    return CacheableStage(images.root, key, compute)


@dataclass(frozen=True)
class _NoteTaker:
    """A `Progress` that passes everything on, and writes down the notes."""

    progress: Progress
    notes: list[str] = field(default_factory=list)

    def stage(self, name: str) -> None:
        self.progress.stage(name)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        return self.progress.track(items, name, total)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)
