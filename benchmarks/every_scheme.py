"""Every scheme and every `--io` on every network: what is refused, what is chosen by default, sizes, and answers.

    python benchmarks/every_scheme.py                       # networks of zoo.py, random weights
    python benchmarks/every_scheme.py --only MobileNetV2
    python benchmarks/every_scheme.py --pretrained build/pretrained    # and those that pretrained.py left there

Each network runs in a process of its own; results lie in --folder, what has one is not run again, and SCHEMES.md is of
all that are there. Conversions are those of `irv2-convert`; int16x8 is judged on few images.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np

import calibration_data
import zoo
from convert.images.conventions import input_spec
from convert.images.dataset import find_images
from convert.images.reader import PixelReader
from convert.job import Job
from convert.keras_models.sources import ModelSource
from convert.pipeline import convert
from convert.quantization.schemes import IO_CHOICES, SCHEMES, Scheme
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph, layer_name
from edge_runtime import EdgeError
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import normalize
from pretrained import environment_of, job_of
from published import NETWORKS as PUBLISHED

RANDOM_IMAGES, TRAINED_IMAGES, SLOW_IMAGES = 24, 200, 4
DEFAULT = "default"
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Cell:
    """One conversion.

    Attributes:
        scheme: its name.
        io: what was asked for, or "default".
        given: the dtype of the artifact's input.
        megabytes: of the artifact.
        agreement: with the float network's answers, a fraction of `images`; `sqnr_db` is of the logits.
        error: why there is no artifact.
    """

    scheme: str
    io: str
    given: str = ""
    megabytes: float = 0.0
    images: int = 0
    agreement: float = 0.0
    sqnr_db: float | None = None
    error: str = ""


@click.command(help=__doc__)
@click.option("--only", multiple=True, help="These networks; all unless given.")
@click.option("--pretrained", type=Path, help="The --folder of pretrained.py.")
@click.option("--folder", type=Path, default=Path("build/schemes"), show_default=True)
@click.option("--output", type=Path, default=Path(__file__).with_name("SCHEMES.md"), show_default=True)
@click.option("--here", is_flag=True, hidden=True, help="Try the network of --only in this process.")
def main(only: tuple[str, ...], pretrained: Path | None, folder: Path, output: Path, here: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trained = [] if pretrained is None else [name for name in PUBLISHED if has_network(pretrained / name)]
    for name in only or (*trained, *zoo.NAMES):
        result = folder / f"{name}.json"
        if here:
            write(result, list(tried(name, pretrained if name in trained else None, folder)))
        elif not result.exists():
            click.echo(name, err=True)
            command = [sys.executable, __file__, "--here", "--only", name, "--folder", str(folder)]
            command += [] if pretrained is None else ["--pretrained", str(pretrained)]
            write(result, run(command, folder, result))
    if not here:
        output.write_text("\n".join(table(folder)) + "\n")


def has_network(place: Path) -> bool:
    """Whether pretrained.py left the network and its photographs."""
    return (place / "network.keras").exists() and (place / "validation").exists()


def run(command: list[str], folder: Path, result: Path) -> list[Cell]:
    """Run a network's process; return what it wrote, or one cell that says how it failed."""
    try:
        ended = subprocess.run(
            command, check=False, timeout=TIMEOUT_S, capture_output=True, text=True, env=environment_of(folder)
        )
    except subprocess.TimeoutExpired:
        return [Cell("all", DEFAULT, error=f"not done after {TIMEOUT_S} s")]
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [""])[-1]
        return [Cell("all", DEFAULT, error=f"exit code {ended.returncode}: {last[:200]}")]
    return read(result)


def tried(name: str, pretrained: Path | None, folder: Path) -> Iterator[Cell]:
    """Yield every conversion of a network, trained or with random weights."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    if pretrained is None:
        job, images = random_job(name, place), RANDOM_IMAGES
    else:
        job, images = trained_job(name, pretrained, place), TRAINED_IMAGES
    float_network = convert(with_(job, SCHEMES["none"], None, images), Silent())[0].path
    first = first_layer(float_network)
    for scheme in SCHEMES.values():
        for io in (None, *IO_CHOICES):
            keep = f"^{re.escape(first)}$" if scheme.keeps_layers else None
            yield cell(with_(job, scheme, io, SLOW_IMAGES if scheme.slow_kernels else images, keep))


def first_layer(float_network: Path) -> str:
    """The name of the first layer with weights, which scheme mixed keeps in float here."""
    graph = TfliteGraph(float_network.read_bytes())
    operator = next(operator for operator in graph.operators if operator.has_weights)
    return layer_name(graph.tensor_name(operator.outputs[0]))


def cell(job: Job) -> Cell:
    """Convert once."""
    (scheme,), io = job.schemes, job.io or DEFAULT
    try:
        outcome = convert(job, Silent())[0]
    except EdgeError as error:
        return Cell(scheme.name, io, error=str(error))
    drift, given = outcome.drift, open_artifact(outcome.path).card.input.dtype
    assert drift is not None
    sqnr_db = drift.sqnr_db if np.isfinite(drift.sqnr_db) else None
    return Cell(scheme.name, io, given, outcome.bytes / 1e6, drift.images, drift.agreement_top1, sqnr_db)


def with_(job: Job, scheme: Scheme, io: str | None, images: int, keep_float: str | None = None) -> Job:
    """Return the job for one scheme, judged on so many images."""
    return replace(job, schemes=(scheme,), io=io, keep_float=keep_float, validation_size=images)


def random_job(name: str, place: Path) -> Job:
    """Return the job of a network with random weights, see zoo.py, on the bundled pictures."""
    convention, path = "none" if name.startswith(zoo.PIXELS_IN) else "tf", place / "network.keras"
    calibration = find_images(calibration_data.CALIBRATION).shuffled()[: zoo.IMAGES]
    spec = input_spec(convention, zoo.PIXELS, zoo.PIXELS)
    seen = np.stack([normalize(pixels, spec) for _, pixels in PixelReader(spec).read(calibration)])
    zoo.as_trained(name, zoo.PIXELS, seen).save(path)
    return Job(
        source=ModelSource(str(path)),
        schemes=(),
        preprocessing=convention,
        calibration=calibration_data.CALIBRATION,
        calibration_size=zoo.IMAGES,
        validation=without_classes(calibration_data.VALIDATION, place / "validation"),
        output_dir=place,
    )


def without_classes(images: Path, folder: Path) -> Path:
    """Link some images into a flat folder: they show nothing that the network has a class for."""
    folder.mkdir(exist_ok=True)
    for path in find_images(images).shuffled()[:RANDOM_IMAGES].paths:
        link = folder / path.name
        if not link.is_symlink():
            link.symlink_to(path)
    return folder


def trained_job(name: str, pretrained: Path, place: Path) -> Job:
    """Return the job of a network that pretrained.py left, with its photographs."""
    source = pretrained / name
    job = job_of(PUBLISHED[name], source, schemes=(), validation=source / "validation")
    return replace(job, output_dir=place)


def write(result: Path, cells: list[Cell]) -> None:
    """Keep the result of a network."""
    result.write_text(json.dumps([asdict(cell) for cell in cells]))


def read(result: Path) -> list[Cell]:
    """Return what `write` kept."""
    return [Cell(**cell) for cell in json.loads(result.read_text())]


def table(folder: Path) -> Iterator[str]:
    """Yield the lines of SCHEMES.md: the networks that were tried, a line for each conversion that differs."""
    yield from (
        "# Every scheme and every `--io` on every network",
        "",
        "Made by `python benchmarks/every_scheme.py`. Networks of keras.applications have random weights, whose "
        "agreement says nothing of accuracy: that they convert, and to what, is the point; others are those of "
        "`pretrained.py`. Scheme mixed keeps the first layer in float. *default* is without `--io`; the dtype in "
        "brackets is what the input became. Per cell: size, agreement with the float network, SQNR of the logits.",
    )
    for name in dict.fromkeys((*PUBLISHED, *zoo.NAMES)):  # some stand in both
        result = folder / f"{name}.json"
        if result.exists():
            yield from ("", f"## {name}", "", *matrix(read(result)))


def matrix(cells: list[Cell]) -> Iterator[str]:
    """Yield a table of one network, schemes down and `--io` across, and below it why some were refused."""
    columns = (DEFAULT, *IO_CHOICES)
    found = {(cell.scheme, cell.io): cell for cell in cells}
    reasons = list(dict.fromkeys(reason(cell) for cell in cells if cell.error))
    yield f"| scheme | images | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 2) + "|"
    for scheme in dict.fromkeys(cell.scheme for cell in cells):
        row = [found.get((scheme, io)) for io in columns]
        images = max((cell.images for cell in row if cell is not None), default=0)
        yield f"| {scheme} | {images} | {' | '.join(shown(cell, reasons) for cell in row)} |"
    for number, text in enumerate(reasons, 1):
        yield from ("", f"{number}) {text}")


def reason(cell: Cell) -> str:
    """Return why a conversion was refused, in the same words for every scheme."""
    return cell.error.replace(f"scheme {cell.scheme}", "the scheme")


def shown(cell: Cell | None, reasons: list[str]) -> str:
    """Return the text of a cell; a refused one has the number of its reason."""
    if cell is None:
        return ""
    if cell.error:
        return f"refused {reasons.index(reason(cell)) + 1})"
    given = f"({cell.given}) " if cell.io == DEFAULT else ""
    sqnr = "equal" if cell.sqnr_db is None else f"{cell.sqnr_db:.1f} dB"
    return f"{given}{cell.megabytes:.2f} MB, {cell.agreement:.1%}, {sqnr}"


if __name__ == "__main__":
    main()
