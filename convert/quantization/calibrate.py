"""Calibration of a float network: its statistics on images, its equalized and rounded weights, its ranges.

images --collect statistics--> equalize channels --calibrator--> ranges --> fit weights and biases to int8 inputs
   +---- held out -------------------------- choose the calibrator
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convert.images.dataset import ImageSet, manifest_sha256
from convert.images.reader import PixelReader, fewest_readable, note_skipped, refuse_unreadable
from convert.quantization import calibrators, convergence, schemes
from convert.quantization.bias_correction import correct_head
from convert.quantization.calibrators import AUTO, CALIBRATORS, ObservedActivation, min_max
from convert.quantization.dense_layers import dense_as_convolutions
from convert.quantization.equalization import equalize
from convert.quantization.evaluation import Evaluator, Score
from convert.quantization.gptq import round_weights
from convert.quantization.negations import without_negations
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.reconstruction import reconstruct
from convert.quantization.statistics import (
    ActivationStatistics,
    ChannelObserver,
    Measure,
    collect_statistics,
    measure_here,
)
from convert.system.progress import Progress, Silent
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels

MOST_KEPT = 128
"""Images whose pixels are kept after the statistics are collected: what else is done with them needs no more."""


@dataclass(frozen=True)
class CalibrationOptions:
    """How to calibrate.

    Attributes:
        calibrator: key of `CALIBRATORS`, or "auto" for the one that does best on held-out images.
        until_enough: whether to stop before the last image if the ranges have converged.
    """

    calibrator: str = calibrators.DEFAULT
    until_enough: bool = False


@dataclass(frozen=True)
class Calibration:
    """A float network prepared for quantization with integer activations.

    Attributes:
        equalized: the network with equalized channels.
        rounded: the same with its weights on their integer steps, and biases that fit them.
        statistics: of its activations; their minimum and maximum are the calibrator's.
        pixels: of the first `MOST_KEPT` of the calibration images that were used.
        manifest_sha256: of all of them.
        evaluator: of the held-out images; None if none were needed.
        calibrator: whose ranges these are.
        tried: calibrator -> SQNR in dB on the held-out images; empty if there was no choice.
    """

    equalized: bytes
    rounded: bytes
    statistics: ActivationStatistics
    pixels: Sequence[Pixels]
    evaluator: Evaluator | None
    calibrator: str
    tried: dict[str, float]
    manifest_sha256: str

    def quantize(self, recipe: schemes.Recipe, spec: InputSpec, progress: Progress | None = None) -> QuantizedModel:
        """Quantize the network as a recipe of a scheme that calibrates says.

        With layers in float the others are fitted anew, since they read less noise: that takes as long as calibrating.
        """
        network = self.rounded
        if recipe.float_layers:
            progress = progress or Silent()
            network = reconstruct(self.equalized, self.statistics, self.pixels, spec, progress, recipe.float_layers)
        return quantize(network, recipe, spec, self.statistics)

    def correct_head(self, quantized: QuantizedModel, spec: InputSpec) -> QuantizedModel:
        """Correct the bias of the head on the first calibration images."""
        input_tensor, _ = quantized.io_specs
        model = correct_head(quantized.model, spec, input_tensor, self.pixels, self.statistics.logits)
        return replace(quantized, model=model)

    def summary(self) -> dict[str, Any]:
        """Return what goes into a card."""
        images = {"manifest_sha256": self.manifest_sha256, "images": self.statistics.images}
        return {**images, "calibrator": self.calibrator}

    def to_json(self) -> dict[str, Any]:
        """Return what goes into a report."""
        return {
            **self.summary(),
            "held_out": 0 if self.evaluator is None else len(self.evaluator.images),
            "tried_sqnr_db": self.tried,
            "convergence": convergence.convergence(self.statistics.extremes),
            "halves_differ": convergence.halves_differ(self.statistics.extremes),
            "halves_aim": convergence.AIM,
            "images_for_ranges": convergence.images_for_ranges(self.statistics.extremes),
        }


def calibrate(
    float_model: bytes,
    spec: InputSpec,
    images: ImageSet,
    held_out: ImageSet | None,
    request: CalibrationOptions,
    progress: Progress,
    measure: Measure = measure_here,
) -> Calibration:
    """Calibrate a float network of static batch 1, ending in a softmax, on images prepared as `spec` says.

    Others are held out to judge alternatives by; the calibrator "auto" needs some. `measure` decides where the network
    is run for its statistics, and about no value.

    Raises:
        ImageSetError: more than a tenth of the images cannot be read.
        QuantizationError: an activation is not finite.
    """
    float_model, evaluator = dense_as_convolutions(without_negations(float_model)), None
    if held_out is not None:
        evaluator = Evaluator.from_float_model(float_model, _pixels(held_out, spec, progress), spec)
    seen = _observe(float_model, spec, images, request.until_enough, progress, measure)
    del float_model  # 230 MB of an Inception-ResNet-V2, while fitting needs most
    calibrator, tried, statistics = request.calibrator, dict[str, float](), seen.statistics
    if calibrator == AUTO:
        assert evaluator is not None
        nearby = round_weights(seen.equalized, seen.pixels, spec, progress)
        scores = _try_calibrators(nearby, statistics, seen.activations, evaluator, progress)
        calibrator = choose_calibrator(scores)
        tried = {name: round(score.sqnr_db, 2) for name, score in scores.items()}
        listed = ", ".join(f"{name} {sqnr_db:.1f} dB" for name, sqnr_db in tried.items())
        progress.note(f"calibrator {calibrator}, of {listed} on {len(evaluator.images)} held-out images")
    statistics = _with_ranges_of(calibrator, statistics, seen.activations)
    rounded = reconstruct(seen.equalized, statistics, seen.pixels, spec, progress)
    sha256 = manifest_sha256(seen.read)
    return Calibration(seen.equalized, rounded, statistics, seen.pixels, evaluator, calibrator, tried, sha256)


@dataclass(frozen=True)
class Observed:
    """What a float network showed on the calibration images.

    Attributes:
        equalized: the network with equalized channels.
        statistics, activations: of its activations, the latter for calibrators.
        pixels: of the first `MOST_KEPT` of the images that it was run on.
        read: the images that were read for it, some perhaps in vain.
    """

    equalized: bytes
    statistics: ActivationStatistics
    activations: dict[str, ObservedActivation]
    pixels: Sequence[Pixels]
    read: ImageSet


def _observe(
    float_model: bytes, spec: InputSpec, images: ImageSet, until_enough: bool, progress: Progress, measure: Measure
) -> Observed:
    """Run a float network over images, and equalize its channels; forget what was measured of each image."""
    measured, observers, pixels, read = _collect(float_model, spec, images, until_enough, progress, measure)
    equalized, statistics, factors = equalize(float_model, measured)
    activations = {name: observer.observed(factors[name]) for name, observer in observers.items()}
    return Observed(equalized, statistics, activations, pixels, read)


def _pixels(images: ImageSet, spec: InputSpec, progress: Progress) -> list[Pixels]:
    """Read the images, and note those that cannot be read."""
    reader = PixelReader(spec)
    found = [pixels for _, pixels in reader.read(images)]
    refuse_unreadable(reader.skipped, images)
    note_skipped(progress.note, reader.skipped, images)
    return found


def _collect(
    float_model: bytes, spec: InputSpec, images: ImageSet, until_enough: bool, progress: Progress, measure: Measure
) -> tuple[ActivationStatistics, dict[str, ChannelObserver], list[Pixels], ImageSet]:
    """Return what `collect_statistics` does, the pixels that are kept, and the images that were read, some in vain.

    Images are read ahead of what is computed. The result is that of those that were computed.
    """
    reader, seen, kept = PixelReader(spec), list[tuple[int, int]](), list[Pixels]()

    def remembered() -> Iterator[Pixels]:
        for index, pixels in progress.track(reader.read(images), "calibrating", len(images)):
            seen.append((index, len(reader.skipped)))
            kept.extend([pixels] if len(kept) < MOST_KEPT else [])
            yield pixels
        if not seen:
            refuse_unreadable(reader.skipped, images)  # before anyone complains that there are no pixels

    has_enough, fewest = (convergence.have_converged, 0) if until_enough else (None, fewest_readable(images))
    statistics, observers = collect_statistics(float_model, remembered(), spec, has_enough, measure, fewest)
    seen, skipped, read = seen[: statistics.images], reader.skipped, len(images)
    if until_enough and convergence.have_converged(list(statistics.extremes)):
        last, before = seen[-1]
        read, skipped = last + 1, reader.skipped[:before]
    refuse_unreadable(skipped, images[:read])
    note_skipped(progress.note, skipped, images[:read])
    if read < len(images):
        progress.note(f"ranges have converged after {len(seen)} images")
    return statistics, observers, kept[: len(seen)], images[:read]


def choose_calibrator(scores: dict[str, Score]) -> str:
    """Return the calibrator with the best score, but the default unless another is better than by chance."""
    better = [name for name, score in scores.items() if score.is_better_than(scores[calibrators.DEFAULT])]
    return max(better, key=lambda name: scores[name].sqnr_db, default=calibrators.DEFAULT)


def _try_calibrators(
    rounded: bytes,
    statistics: ActivationStatistics,
    observed: dict[str, ObservedActivation],
    evaluator: Evaluator,
    progress: Progress,
) -> dict[str, Score]:
    """Return how the network does on held-out images with the ranges of each calibrator."""
    scores, recipe = dict[str, Score](), schemes.Recipe(schemes.DEFAULT, "float32")
    for name in progress.track(CALIBRATORS, "trying calibrators", len(CALIBRATORS)):
        ranges = _with_ranges_of(name, statistics, observed)
        scores[name] = evaluator.score(quantize(rounded, recipe, evaluator.spec, ranges))
    return scores


def _with_ranges_of(
    calibrator: str, statistics: ActivationStatistics, observed: dict[str, ObservedActivation]
) -> ActivationStatistics:
    """Return the statistics, clipped to the ranges that a calibrator chooses.

    Where each image gives one value of a channel, as behind the last pool, too few were seen to clip any of them.
    """
    chosen = {name: (CALIBRATORS[calibrator] if each.has_pixels else min_max)(each) for name, each in observed.items()}
    return statistics.clipped(chosen)
