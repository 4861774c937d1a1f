"""`irv2-convert --dry-run`: each value and where it is from, and what would be read and written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from convert.checking import check, choosing_images, labelled_source
from convert.cli.configured import conversion_settings, effective, refuse_missing_sources
from convert.cli.progress import shown_progress
from convert.errors import PreprocessingUnknownError, SourceError
from convert.images.conventions import CONVENTIONS, fit_text, fitted
from convert.images.label_order import folder_notes
from convert.images.preprocessing_choice import TRIED_FIRST
from convert.job import Inputs, Job
from convert.keras_models.sources import WEIGHTS_FILE
from convert.reporting.formatting import number
from convert.system.temporary import scratch_folder
from edge_runtime.console import printable


def explain(context: click.Context, job: Job, quiet: bool) -> None:
    """Print a job: its values, then what its files and folders hold, then what the user's own network turned out to be.

    What cannot work is the error of a conversion; all but the last is checked without TensorFlow.
    """
    print_values(effective(context, conversion_settings()))
    refuse_missing_sources(context)
    inputs = check(job)
    for note in () if quiet else inputs.notes:
        click.echo(f"note: {printable(note)}", err=True)
    calibration = f"{len(inputs.calibration)} images of {inputs.calibration.root}" if inputs.calibration else "none"
    calibration += f", {len(inputs.held_out)} more held out" if inputs.held_out else ""
    validation = f"{len(inputs.validation)} images of {inputs.validation.root}" if inputs.validation else "none"
    click.echo(f"network:     {job.source.name}\ncalibration: {calibration}\nvalidation:  {validation}")
    if inputs.validation and inputs.labels:
        for note in folder_notes(inputs.validation, inputs.labels, given=True):
            click.echo(f"             {printable(note)}")
    for line in _recognized(job, inputs, quiet):
        click.echo(line)
    for scheme in job.schemes:
        artifact = job.output_dir / f"{job.source.name}.{scheme.name}.tflite"
        io = inputs.io[scheme.name]
        exact = "" if job.io is not None or io == "float32" else ", or float32 where those would not be exact"
        click.echo(f"would write: {artifact} ({scheme.summary}; ends {io}{exact})")


def print_values(values: Sequence[tuple[str, str, str]]) -> None:
    """Print what `effective` returns as a table, and an empty line."""
    rows = [[printable(cell) for cell in row] for row in values]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for key, value, source in rows:
        click.echo(f"{key:{key_width}}  {value:{value_width}}  {source}")
    click.echo()


def _recognized(job: Job, inputs: Inputs, quiet: bool) -> list[str]:
    """Load the user's own file, and return lines about it; none for our own networks, which are known."""
    source = labelled_source(job, inputs)
    if source.is_ours:
        return []
    from convert.lowering.lower import RecognitionRequest, recognize
    from convert.preparation import wrong_labels

    with shown_progress(quiet) as progress, scratch_folder(Path(tempfile.gettempdir())) as scratch:
        request = RecognitionRequest(source, inputs.preprocessing, scratch)
        try:
            found, images = recognize(request, progress), None
        except PreprocessingUnknownError:
            images = choosing_images(inputs)
            if images is None:
                raise
            found = recognize(replace(request, preprocessing=TRIED_FIRST), progress)
    if inputs.labels is not None and len(inputs.labels) != found.classes:
        raise SourceError(wrong_labels(job, len(inputs.labels), found.classes))
    spec, what = fitted(found.spec, job.fit), found.recognized or found.architecture
    says_classes = source.origin == WEIGHTS_FILE and bool(found.recognized)  # a whole model's line names it alone
    fit, colours = fit_text(spec) or spec.geometry, "grey" if spec.channels == 1 else spec.channel_order
    scaling = f"mean {' '.join(map(number, spec.mean))}, std {' '.join(map(number, spec.std))}"
    if images is not None:
        scaling = f"scaled as {images.root} shows ({', '.join(CONVENTIONS)}; --preprocessing says it)"
    lines = [
        f"recognized:  {what}{'' if says_classes else f', {found.classes} classes'}",
        f"images:      {spec.height}x{spec.width} {colours}, {scaling}, {fit}, {spec.resize}",
        *(f"in front:    {line}" for line in found.front),
    ]
    return [printable(line) for line in lines]
