"""Calibration images -> all that schemes with integer activations need: statistics, ranges, rounded weights.

images --measure--> statistics --equalize--> --round weights--> --calibrator--> ranges
   +---- held out ---------------------------------------------- judge alternatives
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from convert.images.dataset import ImageSet, PixelReader, manifest_sha256, note_skipped
from convert.quantization import convergence
from convert.quantization.calibrators import AUTO, CALIBRATORS, DEFAULT
from convert.quantization.equalization import equalize
from convert.quantization.evaluation import Evaluator, Score
from convert.quantization.gptq import round_weights
from convert.quantization.observer import ActivationObserver
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES
from convert.quantization.statistics import ActivationStatistics, collect_statistics, observe
from convert.system.progress import Progress
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels


@dataclass(frozen=True)
class CalibrationOptions:
    """How to fit.

    Attributes:
        calibrator: key of `CALIBRATORS`, or "auto" for the one that does best on held-out images.
        until_enough: whether to stop before the last image when ranges no longer grow.
    """

    calibrator: str = DEFAULT
    until_enough: bool = False


@dataclass(frozen=True)
class Calibration:
    """What calibration images tell of a float network.

    Attributes:
        equalized: the float network with its channels evened out.
        rounded: the same with its weights on int8 steps.
        statistics: of its activations; their extremes are the calibrator's.
        pixels: of the images it was fitted to.
        evaluator: held-out images; None where none were needed.
        calibrator: whose ranges these are.
        tried: calibrator -> SQNR in decibel on the held-out images; empty where there was no choice.
        manifest_sha256: of the images.
    """

    equalized: bytes
    rounded: bytes
    statistics: ActivationStatistics
    pixels: Sequence[Pixels]
    evaluator: Evaluator | None
    calibrator: str
    tried: dict[str, float]
    manifest_sha256: str

    def summary(self) -> dict[str, Any]:
        """What goes into a card."""
        return {
            "manifest_sha256": self.manifest_sha256,
            "images": self.statistics.images,
            "calibrator": self.calibrator,
        }

    def to_json(self) -> dict[str, Any]:
        """What goes into a report."""
        return {
            **self.summary(),
            "held_out": 0 if self.evaluator is None else len(self.evaluator.images),
            "tried_sqnr_db": self.tried,
            "convergence": convergence.convergence(self.statistics.extremes),
            "halves_differ": convergence.halves_differ(self.statistics.extremes),
        }


def calibrate(
    float_model: bytes,
    spec: InputSpec,
    images: ImageSet,
    held_out: ImageSet | None,
    request: CalibrationOptions,
    progress: Progress,
) -> Calibration:
    """Fit a float network to calibration images.

    Args:
        float_model: static batch 1, ending in a softmax.
        spec: how images are prepared.
        images: to fit to.
        held_out: others, to judge alternatives on; needed for the calibrator "auto".
        request: how.
        progress: told of each stage.

    Raises:
        ImageSetError: more than a tenth of the images cannot be read.
        QuantizationError: an activation is not finite.
    """
    evaluator = (
        None
        if held_out is None
        else Evaluator.from_float_model(float_model, list(_pixels(held_out, spec, progress)), spec)
    )
    kept: list[Pixels] = []

    def remembered() -> Iterator[Pixels]:
        for pixels in progress.track(_pixels(images, spec, progress), "calibrating", len(images)):
            kept.append(pixels)
            yield pixels

    enough = convergence.have_converged if request.until_enough else convergence.never
    measured = collect_statistics(float_model, remembered(), spec, enough)
    if len(kept) < len(images) and request.until_enough:
        progress.note(f"ranges have converged after {len(kept)} images")
    equalized, statistics = equalize(float_model, measured)
    rounded = round_weights(equalized, kept, spec, progress)
    tried: dict[str, float] = {}
    calibrator = request.calibrator
    if calibrator != DEFAULT:
        progress.stage("observing activations")
        observed = observe(equalized, kept, spec)
        if calibrator == AUTO:
            assert evaluator is not None
            scores = _try_calibrators(rounded, statistics, observed, evaluator, progress)
            calibrator = choose(scores)
            tried = {name: round(score.sqnr_db, 2) for name, score in scores.items()}
            progress.note(f"calibrator {calibrator}, of {_listed(tried)} on {len(evaluator.images)} held-out images")
        statistics = _calibrated(statistics, observed, calibrator)
    used = images.first(len(kept)) if request.until_enough else images
    return Calibration(equalized, rounded, statistics, kept, evaluator, calibrator, tried, manifest_sha256(used))


def _pixels(images: ImageSet, spec: InputSpec, progress: Progress) -> Iterator[Pixels]:
    reader = PixelReader(spec)
    for _, pixels in reader.read(images):
        yield pixels
    note_skipped(progress.note, reader.skipped, images)


def choose(scores: dict[str, Score]) -> str:
    """The calibrator with the best score; another than the default only where it is better than by chance."""
    better = [name for name, score in scores.items() if score.is_better_than(scores[DEFAULT])]
    return max(better, key=lambda name: scores[name].sqnr_db, default=DEFAULT)


def _try_calibrators(
    rounded: bytes,
    statistics: ActivationStatistics,
    observed: dict[str, ActivationObserver],
    evaluator: Evaluator,
    progress: Progress,
) -> dict[str, Score]:
    """How the int8 network does on held-out images with the ranges of each calibrator."""
    scores: dict[str, Score] = {}
    for name in progress.track(CALIBRATORS, "trying calibrators", len(CALIBRATORS)):
        ranges = _calibrated(statistics, observed, name)
        scores[name] = evaluator.score(quantize(rounded, SCHEMES["int8"], "float32", evaluator.spec, ranges))
    return scores


def _calibrated(
    statistics: ActivationStatistics, observed: dict[str, ActivationObserver], calibrator: str
) -> ActivationStatistics:
    return statistics.clipped({name: CALIBRATORS[calibrator](seen) for name, seen in observed.items()})


def _listed(tried: dict[str, float]) -> str:
    return ", ".join(f"{name} {sqnr_db:.1f} dB" for name, sqnr_db in tried.items())
