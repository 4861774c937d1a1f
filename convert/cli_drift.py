"""`irv2-drift`: the gate alone, for CI."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from convert import drift as gate
from convert.commands import limit_options, limits, one_line_errors
from convert.counts import Comparison
from convert.errors import SourceError
from convert.image_sets import ImageSet, find_images, note_skipped
from convert.job import read_labels
from convert.preprocessing import CONVENTIONS, input_spec
from convert.report import environment, exit_code, gate_json, print_drift
from convert.sources import MODEL_SUFFIXES, ModelSource, file_sha256
from convert.terminal import TerminalProgress
from edge_runtime import Classifier
from edge_runtime.artifact import has_card
from edge_runtime.engines import Engine, choose_engine

FILE = click.Path(path_type=Path)


@click.command(context_settings={"max_content_width": 100})
@click.argument("candidate", type=FILE)
@click.option("--reference", type=FILE, required=True, metavar="FILE", help="Float .tflite, or a Keras model.")
@click.option("--images", type=FILE, required=True, metavar="DIR", help="Images; class folders give labels.")
@click.option("--images-size", type=click.IntRange(min=1), help="Most images to use.  [default: all]")
@click.option("--preprocessing", metavar="|".join([*CONVENTIONS, "FILE"]), help="Of a model without a card.")
@click.option("--labels", type=FILE, metavar="FILE", help="Of a model without a card: one label a line.")
@click.option("--html", type=FILE, metavar="FILE", help="Write the report as an HTML page.")
@click.option("--no-thumbnails", is_flag=True, help="Leave pictures and folders out of the page.")
@limit_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@one_line_errors
def drift(
    candidate: Path,
    reference: Path,
    images: Path,
    images_size: int | None,
    preprocessing: str | None,
    labels: Path | None,
    html: Path | None,
    no_thumbnails: bool,
    max_drop: float,
    min_agreement: float,
    as_json: bool,
) -> None:
    """Measure how far CANDIDATE is from a reference, and judge it.

    Exit code: 0 pass, 1 an error, 2 wrong usage, 3 drift over the limit, 4 too few images to tell.
    """
    names = None if labels is None else read_labels(labels)
    image_set = find_images(images).sample(images_size)
    with TerminalProgress(Console(stderr=True)) as progress, tempfile.TemporaryDirectory() as scratch:
        float_model = _float_tflite(reference, preprocessing, image_set, Path(scratch), progress)

        def answers(path: Path, name: str) -> gate.Answers:
            with _open(path, preprocessing, names) as classifier:
                image_set.class_indices(classifier.labels)
                return gate.answer(classifier, image_set, lambda done: progress.count(name, done, len(image_set)))

        wanted, found = answers(float_model, "reference"), answers(candidate, "candidate")
        note_skipped(progress.note, wanted.skipped, image_set)
    compared = Comparison(wanted, found, gate.truth(image_set, wanted))
    measured = gate.compare(wanted, found, compared.true_classes)
    judged = gate.judge(measured, limits(max_drop, min_agreement))
    report = _report(candidate, measured, judged)
    if html is not None:
        from convert import page

        page.write(page.render(report, compared, thumbnails=not no_thumbnails), html)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        print_drift(Console(), measured, judged)
    sys.exit(exit_code([judged]))


def _report(candidate: Path, measured: gate.Drift, judged: gate.Gate) -> dict[str, object]:
    return {
        "artifact": {"path": str(candidate), "bytes": candidate.stat().st_size, "sha256": file_sha256(candidate)},
        "drift": measured.to_json(),
        "gate": gate_json(judged),
        "environment": environment(),
    }


def _float_tflite(
    reference: Path, preprocessing: str | None, images: ImageSet, scratch: Path, progress: TerminalProgress
) -> Path:
    """The reference as a `.tflite`; a Keras model is lowered first, which needs the [convert] extra."""
    if reference.suffix.lower() not in MODEL_SUFFIXES:
        return reference
    from convert.lowering import LoweringRequest, lower

    if preprocessing is None:
        raise SourceError(f"{reference} does not say how its images were prepared: pass --preprocessing")
    source = ModelSource(str(reference))
    source.check()
    return lower(
        LoweringRequest(source, preprocessing, images.paths[:8], scratch / "reference.tflite"), progress.stage
    ).path


def _open(path: Path, preprocessing: str | None, labels: tuple[str, ...] | None) -> Classifier:
    """An artifact as a device opens it; a model without a card with what the options say of it."""
    if has_card(path) or not path.is_file():
        return Classifier.open(path, engine="litert", delegate="cpu")
    if preprocessing is None:
        raise SourceError(f"{path} has no card: pass --preprocessing to say how its images are prepared, and --labels")
    _, height, width, _ = Engine(path, choose_engine("litert"), None).input_shape
    return Classifier.open(
        path, engine="litert", delegate="cpu", spec=input_spec(preprocessing, height, width), labels=labels
    )
