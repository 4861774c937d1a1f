"""The slow stages of a conversion: what each depends on and how it is computed, or what it gave the last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from convert.cache.codec import pack, unpack
from convert.cache.fingerprint import fingerprint
from convert.cache.store import Cache, Key, ago
from convert.drift.logit_tensors import tensor_logits
from convert.drift.models import open_model
from convert.drift.predictions import Predictions, predict_all
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import ImageSet, manifest
from convert.images.preprocessing_check import refuse_wrong_preprocessing
from convert.images.preprocessing_choice import ChosenPreprocessing, choose_preprocessing
from convert.images.reader import note_skipped
from convert.lowering.lower import FloatModel, LoweredModel, LoweringRequest, lower
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.on_workers import measure_on_workers
from convert.quantization.schemes import Recipe
from convert.quantization.statistics import Measure, measure_here
from convert.quantized import QuantizedNetwork, quantize_network
from convert.system.progress import Progress
from convert.tflite.artifact_writer import Package
from convert.tflite.speed import Speed, compare_speed
from edge_runtime.arrays import Array
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

    def forked(self) -> StageCache:
        """Return the same cache, which lists the stages recalled so far and, apart from this one, those to come."""
        return StageCache(self.cache, self.progress, list(self.recalled))

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


def preprocessing_check(name: str, network: FloatModel, images: ImageSet) -> CacheableStage[str | None]:
    """Return the stage that refuses a wrong preprocessing; what it keeps is what it says of one that it lets pass."""

    def compute(_: Progress) -> str | None:
        return refuse_wrong_preprocessing(
            network.model, network.spec, network.labels, images, network.head, network.taken
        )

    return _on_images("preprocessing check", name, network, [images], _labelled(network, images), compute)


def preprocessing_choice(
    name: str, network: FloatModel, images: ImageSet
) -> CacheableStage[ChosenPreprocessing | None]:
    """Return the stage that chooses a convention for a network that was lowered with some other, `network.given`."""

    def compute(_: Progress) -> ChosenPreprocessing | None:
        assert network.given is not None
        return choose_preprocessing(network.model, network.spec, network.given, network.labels, images, network.head)

    return _on_images("preprocessing", name, network, [images], _labelled(network, images), compute)


def _labelled(network: FloatModel, images: ImageSet) -> dict[str, Any]:
    """Return what decides, beside images and network, about how often it is right, as JSON values."""
    said = None if images.image_labels is None else asdict(images.image_labels)
    return {
        "labels": network.labels,
        "folders": images.folders,
        "image_labels": said and [said["header"], said["rows"]],
        "given": network.given and network.given.to_json(),
    }


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


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate on, how and where.

    Attributes:
        held_out: None if there are no alternatives to judge.
        scheduler: of the workers that measure the images; None for this process, which gives the same.
    """

    images: ImageSet
    held_out: ImageSet | None
    options: CalibrationOptions
    scheduler: str | None = None

    @property
    def sets(self) -> list[ImageSet]:
        """Return all images."""
        return [self.images] if self.held_out is None else [self.images, self.held_out]


def calibrating(name: str, network: FloatModel, request: CalibrationRequest) -> CacheableStage[Calibration]:
    """Return the stage that calibrates a float network; both networks of its result are kept: each takes seconds."""

    measure: Measure = measure_here if request.scheduler is None else partial(measure_on_workers, request.scheduler)

    def compute(progress: Progress) -> Calibration:
        sets = request.images, request.held_out
        return calibrate(network.model, network.spec, *sets, request.options, progress, measure)

    return _on_images("calibration", name, network, request.sets, {"request": asdict(request.options)}, compute)


def quantizing(
    name: str, network: FloatModel, request: CalibrationRequest, calibration: Calibration, recipe: Recipe
) -> CacheableStage[QuantizedNetwork]:
    """Return the stage that quantizes a float network as a recipe says, with the calibration that a request gave."""

    def compute(progress: Progress) -> QuantizedNetwork:
        return quantize_network(network, calibration, recipe, progress)

    how = {"scheme": recipe.scheme.name, "io": recipe.io, "float_layers": list(recipe.float_layers)}
    more = {"request": asdict(request.options), "recipe": how}
    return _on_images("quantized network", name, network, request.sets, more, compute)


def answers(
    package: Package, artifact: Path, network: FloatModel, images: ImageSet
) -> CacheableStage[tuple[Predictions, Array | None]]:
    """Return the stage that runs an artifact of a network, opened as a device opens it, over the validation images.

    `artifact` is the file of `package`. Beside its predictions it has its logits where those do not tell them, see
    `tensor_logits`.
    """

    def compute(progress: Progress) -> tuple[Predictions, Array | None]:
        with open_model(artifact) as candidate:
            predictions = predict_all(candidate, images, progress, f"drift of {artifact.stem}")
            return predictions, tensor_logits(candidate, predictions.paths)

    return _on_images("answers", package.card.name, network, [images], _decisive(package), compute)


def timing(package: Package, artifact: Path, network: FloatModel, float_model: Path | None) -> CacheableStage[Speed]:
    """Return the stage that times an artifact beside its float network on this machine; see `compare_speed`.

    `float_model` is where the float network is written to be timed; None if the artifact is that network.
    """

    def compute(_: Progress) -> Speed:
        if float_model is not None:
            float_model.write_bytes(network.model)
        return compare_speed(artifact, float_model, network.spec)

    def key() -> Key:
        beside = None if float_model is None else network.sha256
        fields = {**_decisive(package), "beside": beside, "versions": fingerprint()}
        return Key("speed", package.card.name, fields)

    return CacheableStage(artifact.parent, key, compute)


def _decisive(package: Package) -> dict[str, Any]:
    """Return what of an artifact decides about its answers, as JSON values; how it was judged does not."""
    card = package.card
    return {
        "flatbuffer": package.flatbuffer_sha256,
        "labels": package.labels,
        "preprocessing": card.preprocessing.to_json(),
        "ends": [asdict(card.input), asdict(card.output)],
        "head": card.head,
    }


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
