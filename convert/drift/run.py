"""`irv2-drift` as a function: open two models, run them over the images, compare, judge, and report it as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift import attribution, stored_predictions
from convert.drift.decisions import DECISIONS, TOP
from convert.drift.figures import Assessment, assess
from convert.drift.label_notes import label_warnings, missing_labels
from convert.drift.logit_tensors import tensor_logits
from convert.drift.models import (
    STORED_SUFFIX,
    ModelOptions,
    ModelPredictor,
    open_reference,
    open_tflite,
    said_at_conversion,
    size_said_by,
    with_labels_of,
)
from convert.drift.predictions import (
    Predictor,
    class_order,
    predict_all,
    predict_both,
    refuse_other_head,
    refuse_too_few,
)
from convert.drift.stored_predictions import StoredPredictions
from convert.errors import SourceError
from convert.images.bit_depth import dark_notes
from convert.images.conventions import fitted_alike, input_spec
from convert.images.dataset import SHUFFLE_SEED, ImageSet, Snapshot, find_images
from convert.images.image_labels import read_image_labels
from convert.images.reader import note_skipped
from convert.quantization.schemes import FLOAT
from convert.statistics.verdict import ANYTIME, FIXED, DiscordantPairs, Limits, PairedCounts, is_certain
from convert.system.machine import environment
from convert.system.progress import Progress
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.artifact import has_card
from edge_runtime.hashing import file_sha256
from edge_runtime.specs import SOFTMAX


@dataclass(frozen=True)
class DriftRequest:
    """What to compare.

    Attributes:
        candidate, reference: a `.tflite`; the reference may also be a Keras model or stored predictions.
        images: folder; class folders give labels, unless there is a file of them.
        images_size: maximum number of images, or None for all.
        options: of models without a card.
        reference_preprocessing: of the reference alone, where it differs on purpose.
        reference_kernels: whether to run the candidate on reference kernels, too, for `blame`.
        recorded: what `irv2-predict --record` wrote on a device, for `blame`; or None.
        image_labels: a file with the labels of each image; or None.
    """

    candidate: Path
    reference: Path
    images: Path
    images_size: int | None = None
    options: ModelOptions = field(default_factory=ModelOptions)
    reference_preprocessing: str | None = None
    reference_kernels: bool = False
    recorded: Path | None = None
    image_labels: Path | None = None

    @property
    def paths(self) -> dict[str, str]:
        """Return the paths of the candidate, the reference and the folder of images, as the report shows them."""
        return {"candidate": str(self.candidate), "reference": str(self.reference), "images": str(self.images)}

    def image_set(self) -> ImageSet:
        """Find the images, in a seeded shuffle."""
        labels = None if self.image_labels is None else read_image_labels(self.image_labels)
        named = self.options.named(find_images(self.images))
        return replace(named, image_labels=labels).shuffled()[: self.images_size]


@dataclass(frozen=True)
class DriftRun:
    """What a run found, and all of it as the JSON of the report."""

    assessment: Assessment
    report: dict[str, Any]


def run(request: DriftRequest, limits: Limits, stop_early: bool, progress: Progress) -> DriftRun:
    """Compare a candidate with its reference; an `EdgeError` names the file.

    With `stop_early` the run ends at the first image at which the verdict is certain; the intervals allow for it.
    """
    images = request.image_set()
    files = Snapshot(images)
    with open_models(request, images, progress) as (reference, candidate):
        enough = EarlyStopping(reference, candidate, images, limits) if stop_early else None
        expected, predicted = predict_both(reference, candidate, images, progress, "comparing", enough)
        refuse_too_few(expected, images)
        refuse_too_few(predicted, images)
        files.refuse_changes()
        for model in (reference, candidate):
            for remark in model.remarks:
                progress.note(f"{model.path}: {remark}")
        for note in (*images.notes, *dark_notes(images), *missing_labels(expected, images)):
            progress.note(note)
        warnings = list(label_warnings(reference, expected, images))
        for warning in warnings:
            progress.note(f"warning: {warning}")
        note_skipped(progress.note, predicted.skipped, images)
        if len(predicted.paths) + len(predicted.skipped) < len(images):
            progress.note(f"certain after {len(predicted.paths)} of {len(images)} images")
        logits, interval = tensor_logits(candidate, predicted.paths), ANYTIME if stop_early else FIXED
        assessment = assess(expected, predicted, images, limits, interval, candidate_logits=logits)
        return reported(
            assessment,
            request.paths,
            run_identity(request, reference, candidate, images),
            tuple(_steps(request, candidate, images, progress)),
            warnings,
        )


class EarlyStopping:
    """A sequential test, for `predict_both`'s `enough`; `counts` are those of the images seen so far."""

    def __init__(self, reference: Predictor, candidate: Predictor, images: ImageSet, limits: Limits) -> None:
        self.limits, self.order = limits, class_order(reference.labels, candidate.labels)
        self.decision, self.truth = DECISIONS[reference.head], images.truth(reference.labels, reference.head)
        top1 = None if self.truth is None else DiscordantPairs(0, 0)
        has_top5 = len(reference.labels) > TOP and TOP in self.decision.ranks
        self.counts = PairedCounts(0, 0, top1, top1 if has_top5 else None, self.decision.rank)

    def __call__(self, index: int, reference: Array, candidate: Array) -> bool:
        """Count one image, and return whether the verdict is certain."""
        p, q = reference[np.newaxis], candidate[np.newaxis, self.order]
        seen, decision = self.counts, self.decision
        top1, top5 = (
            None if change is None or self.truth is None else self._with_image(change, p, q, self.truth[index], k)
            for change, k in ((seen.top1, 1), (seen.top5, TOP))
        )
        agreed = seen.agreed + bool(decision.same(decision.answers(p), decision.answers(q))[0])
        self.counts = replace(seen, images=seen.images + 1, agreed=agreed, top1=top1, top5=top5)
        return is_certain(self.counts, self.limits)

    def _with_image(self, change: DiscordantPairs, p: Array, q: Array, truth: Any, k: int) -> DiscordantPairs:
        """Return `change` with one more image counted."""
        was, is_now = (bool(self.decision.right(row, np.array([truth]), k)[0]) for row in (p, q))
        return DiscordantPairs(change.lost + (was and not is_now), change.gained + (is_now and not was))


def run_identity(request: DriftRequest, reference: Predictor, candidate: Predictor, images: ImageSet) -> dict[str, Any]:
    """Return what all parts of one run have in common, on whatever machine they run, as JSON values."""
    return {
        "candidate": {**_model(candidate), "bytes": request.candidate.stat().st_size},
        "reference": _model(reference),
        "images": {
            "count": len(images),
            "folders": images.folders is not None,
            **({} if request.image_labels is None else {"labels_sha256": file_sha256(request.image_labels)}),
            "names_sha256": hashlib.sha256("\n".join(images.names).encode(errors="surrogateescape")).hexdigest(),
            **({"by_wordnet": dict(request.options.by_wordnet)} if request.options.by_wordnet else {}),
        },
        "version": metadata.version("irv2-edge"),
    }


def _model(predictor: Predictor) -> dict[str, Any]:
    return {
        "sha256": predictor.file_sha256(),
        "preprocessing": predictor.spec.to_json(),
        "labels": list(predictor.labels),
        "step": predictor.step,
        "keras_sqnr_db": predictor.keras_sqnr_db,
        **({} if predictor.head == SOFTMAX else {"head": predictor.head}),
        **({} if _is_float(predictor) else {"quantized": True}),
    }


def _is_float(predictor: Predictor) -> bool:
    """Return whether a model's card says that nothing was quantized; also of models without one."""
    artifact = predictor.classifier.artifact if isinstance(predictor, ModelPredictor) else None
    return artifact is None or artifact.card.scheme == FLOAT.name


def comparison_warnings(reference: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterator[str]:
    """Say what makes a comparison of two models say less than it seems to; both are as `run_identity` has them."""
    if reference["sha256"] == candidate["sha256"]:
        yield "the reference is the candidate itself, so nothing is compared: pass the float network"
    elif "quantized" in reference:
        yield "the reference is quantized, and what it lost itself is not counted: pass the float network"
    if reference["labels"] != candidate["labels"]:
        yield "the candidate has the reference's labels in another order: classes are compared by name; check --labels"


def reported(
    assessment: Assessment,
    paths: dict[str, str],
    identity: dict[str, Any],
    steps: Sequence[dict[str, Any]] = (),
    warnings: Sequence[str] = (),
) -> DriftRun:
    """Return an assessment with its report.

    `paths` is `DriftRequest.paths`, `identity` is from `run_identity`, and `steps` are entries of the report's `blame`,
    beside those of the conversion. `warnings` say why the figures may not be what they seem to be.
    """
    candidate, reference = identity["candidate"], identity["reference"]
    known = (model["keras_sqnr_db"] for model in (reference, candidate) if model["keras_sqnr_db"] is not None)
    conversion = attribution.conversion(next(known, None), assessment.drift)
    report = {
        "artifact": {"path": paths["candidate"], "bytes": candidate["bytes"], "sha256": candidate["sha256"]},
        "preprocessing": candidate["preprocessing"],
        "warnings": [*comparison_warnings(reference, candidate), *warnings],
        "reference": {"path": paths["reference"], "model_sha256": reference["sha256"]},
        "sampling": {
            "available": identity["images"]["count"],
            "unreadable": len(assessment.comparison.candidate.skipped),
            "seed": SHUFFLE_SEED,
            "interval": assessment.drift.interval,
        },
        "drift": assessment.drift.to_json(),
        "gate": assessment.gate.to_json(),
        "blame": [*conversion, *steps],
        "environment": environment(),
    }
    return DriftRun(assessment, report)


def _steps(
    request: DriftRequest, candidate: ModelPredictor, images: ImageSet, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Measure the sources of drift that were asked for."""
    if request.reference_kernels:
        yield attribution.kernels(candidate, images, progress)
    if request.recorded is not None:
        yield attribution.device(request.recorded, candidate, find_images(request.images), progress)


@contextmanager
def open_models(
    request: DriftRequest, images: ImageSet, progress: Progress
) -> Iterator[tuple[Predictor, ModelPredictor]]:
    """Open reference and candidate; an `EdgeError` says if they do not fit each other or the images to compare."""
    reference_options = request.options.with_preprocessing(request.reference_preprocessing)
    with ExitStack() as opened:
        options = replace(request.options, other_size=size_said_by(request.reference))
        candidate = opened.enter_context(open_tflite(request.candidate, options, progress))
        reference_options = replace(reference_options, other_size=(candidate.spec.height, candidate.spec.width))
        if candidate.classifier.artifact is not None:
            reference_options = replace(reference_options, geometry=candidate.spec)
        if reference_options.preprocessing is None:
            reference_options = replace(reference_options, fallback=said_at_conversion(candidate))
        reference = opened.enter_context(open_reference(request.reference, reference_options, images, progress))
        if isinstance(reference, StoredPredictions):
            _check_stored(reference, request, candidate, images)
        elif request.options.labels is None and not (request.reference.is_file() and has_card(request.reference)):
            reference = with_labels_of(candidate, reference, progress)
        refuse_other_head(reference.head, candidate.head)
        class_order(reference.labels, candidate.labels)
        images.truth(reference.labels, reference.head)
        yield reference, candidate


def _check_stored(
    reference: StoredPredictions, request: DriftRequest, candidate: ModelPredictor, images: ImageSet
) -> None:
    reference.check_labels(candidate.labels, str(request.candidate))
    if request.reference_preprocessing is None:
        reference.check_preprocessing(candidate.spec, str(request.candidate))
    else:
        stated = _stated(request.reference_preprocessing, reference.spec)
        reference.check_preprocessing(stated, "--reference-preprocessing")
    reference.check_images(images, find_images(request.images))


def _stated(preprocessing: str, stored: InputSpec) -> InputSpec:
    """Return the preprocessing stated for a reference; what it leaves open is as stored."""
    spec = input_spec(preprocessing, stored.height, stored.width, stored.channels)
    return fitted_alike(spec, preprocessing, stored)


def check_stored_path(path: Path, reference: Path) -> None:
    """Raise `SourceError` if a reference is stored already, or `path` is no name for stored answers."""
    if reference.suffix.lower() == STORED_SUFFIX:
        raise SourceError(
            f"--reference {reference} is stored already: pass the float network as --reference with --save-reference"
        )
    if path.suffix.lower() != STORED_SUFFIX:
        raise SourceError(f"--save-reference {path} must end in .npz: stored answers are recognized by it")


def save_reference(
    path: Path, reference: Path, options: ModelOptions, images: ImageSet, progress: Progress
) -> StoredPredictions:
    """Let a float network, a `.tflite` or a Keras model, predict all images, and store the predictions at `path`.

    A reference that is stored already, or a `path` that does not end in .npz, is a `SourceError`.
    """
    check_stored_path(path, reference)
    with open_reference(reference, options, images, progress) as model:
        images.truth(model.labels, model.head)
        predictions = predict_all(model, images, progress, "reference")
        return stored_predictions.save(path, predictions, images, model)
