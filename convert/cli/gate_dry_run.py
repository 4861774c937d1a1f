"""`irv2-drift --dry-run`: each value and where it is from, what would be compared, and what would be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click

from convert.cli.configured import effective, gate_settings
from convert.cli.dry_run import print_values
from convert.cli.gate_options import GateOptions
from convert.cli.options import Output
from convert.drift.models import ModelOptions, ModelPredictor, needs_lowering, open_reference, open_tflite
from convert.drift.predictions import Predictor
from convert.drift.run import check_stored_path, comparison_warnings, open_models, run_identity
from convert.drift.stored_predictions import StoredPredictions
from convert.images.dataset import ImageSet
from convert.keras_models.sources import ModelSource
from convert.reporting.formatting import number_of
from convert.system.progress import Progress
from edge_runtime.console import printable


def explain(
    context: click.Context, asked: GateOptions, output: Output, models: ModelOptions, progress: Progress
) -> None:
    """Print the values of a run, then what its files and folders hold, then what it would do.

    What cannot work is the error of the run; only a network that has to be lowered first is not opened.
    """
    print_values(effective(context, gate_settings(context.command)))
    images = asked.to_store(models) if asked.candidate is None else asked.request(asked.candidate, models).image_set()
    of_images = number_of(len(images), "image", "images")
    click.echo(printable(f"images:      {of_images} of {images.root}"))
    for line in (*_compared(asked, models, images, progress), *_steps(asked, output, of_images)):
        click.echo(printable(line))


def _compared(asked: GateOptions, models: ModelOptions, images: ImageSet, progress: Progress) -> Iterator[str]:
    """Open what is compared, and yield a line about each."""
    if asked.save_reference is not None:
        check_stored_path(asked.save_reference, asked.reference)
    if needs_lowering(asked.reference):
        ModelSource(str(asked.reference)).check()
        yield f"reference:   {asked.reference}, lowered by TensorFlow first"
        if asked.candidate is not None:
            with open_tflite(asked.candidate, models, progress) as candidate:
                yield f"candidate:   {_described(candidate)}"
    elif asked.candidate is None:
        of_reference = models.with_preprocessing(asked.reference_preprocessing)
        with open_reference(asked.reference, of_reference, images, progress) as reference:
            yield f"reference:   {_described(reference)}"
    else:
        request = replace(asked.request(asked.candidate, models), reference=asked.reference)
        with open_models(request, images, progress) as (reference, candidate):
            yield f"reference:   {_described(reference)}"
            yield f"candidate:   {_described(candidate)}"
            identity = run_identity(request, reference, candidate, images)
            for warning in comparison_warnings(identity["reference"], identity["candidate"]):
                yield f"warning:     {warning}"


def _described(model: Predictor) -> str:
    """Return what a model is."""
    if isinstance(model, StoredPredictions):
        return f"{model.path}, stored answers to {number_of(len(model.images), 'image', 'images')}"
    artifact = model.classifier.artifact if isinstance(model, ModelPredictor) else None
    kind = "a model without a card" if artifact is None else f"an artifact of scheme {artifact.card.scheme}"
    return f"{model.path}, {kind}, {number_of(len(model.labels), 'class', 'classes')}"


def _steps(asked: GateOptions, output: Output, of_images: str) -> Iterator[str]:
    """Yield what would be done, and what would be written."""
    if asked.save_reference is not None:
        yield f"would write: {asked.save_reference}, the answers of {asked.reference} to {of_images}"
    if asked.candidate is None:
        return
    share = asked.share
    if share is not None:
        yield f"would write: {asked.rows_path(share)}, part {share} of {of_images}"
        return
    where = f", answered by {', '.join(asked.device)}" if asked.device else ""
    is_early = asked.stop_early and not asked.device and asked.scheduler is None
    yield f"would judge: {asked.candidate} on {of_images}{', or fewer if that is certain' if is_early else ''}{where}"
    yield from (f"would write: {path}" for path in output.files)
