"""Ours beside its peers, as whole processes on this machine: `make bench`.

The peers' environments are made on first use, below build/peers. All start from one Keras file and the same
calibration images, take turns, and are compared within this run; the table goes to benchmarks/RESULTS.md. On two cores
that takes two hours.
"""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

import calibration_data
import machine
from comparison import Contender, Work, in_turns, markdown, reported_seconds
from contenders import (
    FLOAT,
    INT8,
    JUDGED,
    LITERT,
    PEERS,
    TABLE,
    bundled,
    judges,
    make_models,
    ours,
    runs_model,
    says_what_is_pictured,
    store,
    tool,
)
from convert.keras_models.sources import ModelSource
from convert.system.temporary import write_atomically
from edge_runtime.benchmark import synthetic_photo
from environments import OURS
from groundwork import FOLDER, GROUND, LABELS, LARGE, PHOTO, PICTURE, STORED, empty_cache
from keras_file import save_keras, save_large
from processes import measure_apart

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"


@dataclass(frozen=True)
class Scale:
    """How much is measured: turns of what takes long, of other peers than TFLiteConverter at converting, of what takes
    a second; calibration images, those of the sweep, ours and TFLiteConverter's; images of the drift check; runs of an
    inference; images of the long drift check."""

    long: int = 2
    peers: int = 1
    short: int = 5
    calibration: int = 100
    sweep: tuple[int, ...] = (10, 1000)
    peer_sweep: tuple[int, ...] = (10,)
    drift: int = 500
    runs: int = 40
    judged: int = 5000


WHOLE = Scale()
FULL = replace(WHOLE, peers=3, peer_sweep=(10, 1000))
QUICK = Scale(1, 1, 1, 10, (10, 20), (10,), 20, 3, 40)


@click.command(help=__doc__)
@click.option("--quick", "scale", flag_value="quick", help="A sample of everything, to see that it works: no figures.")
@click.option(
    "--full", "scale", flag_value="full", help="All turns of all peers, TFLiteConverter on 1,000 images: longer yet."
)
@click.option("--work", "chosen", multiple=True, metavar="TITLE", help="Only work whose title has this; repeatable.")
def main(scale: str | None, chosen: Sequence[str]) -> None:
    found = {"quick": QUICK, "full": FULL, None: WHOLE}[scale]
    prepare(found)
    sections = []
    for work in everything(found):
        if not chosen or any(title.lower() in work.title.lower() for title in chosen):
            sections.append(section(work))
            click.echo(sections[-1])
    table = "\n".join((heading(), *sections))  # the heading last: environments are made by those who need them
    if scale != "quick" and not chosen:
        write_atomically(RESULTS, lambda path: path.write_text(table, encoding="utf-8"))


def section(work: Work) -> str:
    """Do the work; its table, and who else had the cores meanwhile."""
    start = machine.core_seconds_now()
    rows = in_turns(work, lambda line: click.echo(line, err=True))
    return f"{markdown(work, rows)}\n{machine.beside(start, machine.core_seconds_now())}\n"


def everything(scale: Scale) -> Iterator[Work]:
    """What is measured, in the order of the table; later work uses what earlier work left."""
    yield conversion(scale)
    yield large_conversion(scale)
    for threads in (1, 2):
        yield inference(scale, threads)
    for threads in (1, 2):
        yield float_inference(scale, threads)
    yield first_prediction(scale)
    yield drift_check(scale)
    yield large_drift_check(scale)
    yield preprocessing(scale)
    yield sweep(scale)  # late, for it leaves models made of other images
    yield large_sweep(scale)


def conversion(scale: Scale) -> Work:
    """From a Keras file to int8, and once more with another option."""
    other = ("--io", "int8")
    return Work(
        "Conversion to int8",
        f"From one `.keras` file and {scale.calibration} images to an int8 model, without a drift check. Ours decodes "
        "the images; the peers are given them as an array, which is not timed. Our cache is empty in the first row, "
        "and filled by it in the next ones. The last row of ours makes the demo's weights from what is bundled.",
        (
            ours("ours", scale.calibration, before=empty_cache),
            ours("ours, another scheme (float16)", scale.calibration, ("--quantize", "float16")),
            ours("ours, another option (`--io int8`)", scale.calibration, other),
            ours("ours, nothing changed", scale.calibration),  # after --io int8: it leaves the model that others ask
            replace(bundled("ours, the bundled demo", scale.calibration), turns=scale.peers),
            TABLE[0].converts(scale.calibration),
            *(replace(peer.converts(scale.calibration), turns=scale.peers) for peer in TABLE[1:]),
        ),
        scale.long,
    )


def large_conversion(scale: Scale) -> Work:
    """The same at the size of the article's pictures."""
    again = {"another scheme (float16)": ("--quantize", "float16"), "another option (`--io int8`)": ("--io", "int8")}
    return Work(
        f"Conversion to int8 at {LARGE.size} × {LARGE.size} pixels",
        "As above, with the weights of demo_weights_299px.md.",
        (
            ours("ours", scale.calibration, before=empty_cache, ground=LARGE),
            *(ours(f"ours, {name}", scale.calibration, more, ground=LARGE) for name, more in again.items()),
            ours("ours, nothing changed", scale.calibration, ground=LARGE),
            TABLE[0].converts(scale.calibration, LARGE),
        ),
        scale.long,
    )


def sweep(scale: Scale) -> Work:
    """What more calibration images cost."""
    counted = [(f"ours, {images:,} images", ours("", images, before=empty_cache)) for images in scale.sweep]
    counted += [(f"{TABLE[0].name}, {images:,} images", TABLE[0].converts(images)) for images in scale.peer_sweep]
    return Work(
        "More calibration images",
        f"As above, once each; {scale.calibration} images are in the table above. `--full` adds TFLiteConverter on "
        "1,000 images, which takes it many minutes.",
        tuple(replace(contender, name=name) for name, contender in counted),
        1,
    )


def large_sweep(scale: Scale) -> Work:
    """The same at the size of the article's pictures."""
    counted = (scale.calibration, max(scale.sweep))
    return Work(
        f"More calibration images at {LARGE.size} × {LARGE.size} pixels",
        "Once each.",
        tuple(
            replace(ours("", images, before=empty_cache, ground=LARGE), name=f"ours, {images:,} images")
            for images in counted
        ),
        1,
    )


def inference(scale: Scale, threads: int) -> Work:
    """The int8 models, each on its runtime."""
    contenders = (
        runs_model(LITERT, OURS, "ours on LiteRT", INT8, threads, scale.runs),
        *(peer.classifies(peer.name, peer.candidate, threads, scale.runs) for peer in TABLE),
    )
    return _inference(f"Inference, int8, {counted_threads(threads)}", contenders, scale)


def float_inference(scale: Scale, threads: int) -> Work:
    """The float models, each on its runtime."""
    contenders = (
        runs_model(LITERT, OURS, "ours on LiteRT", FLOAT, threads, scale.runs),
        *(
            peer.classifies(name, model, threads, scale.runs, *more)
            for peer in TABLE
            for name, model, more in peer.floats
        ),
    )
    return _inference(f"Inference, float, {counted_threads(threads)}", contenders, scale)


def _inference(title: str, contenders: tuple[Contender, ...], scale: Scale) -> Work:
    note = (
        f"Time of one image at {GROUND.size} × {GROUND.size}, median of {scale.runs} in a process; memory is its peak."
    )
    return Work(
        title,
        note,
        contenders,
        scale.long,
        reported_seconds,
        milliseconds,
        says_what_is_pictured,
        measure_apart,
        partial(make_models, scale.calibration),
    )


def first_prediction(scale: Scale) -> Work:
    """Whole processes that answer once."""
    threads = os.cpu_count() or 1
    return Work(
        "Start to first prediction",
        "From the start of a process to its end, which has opened the int8 model and a picture, and printed the "
        "answer. `irv2-predict` verifies the file and its card; the others are scripts of twenty lines.",
        (
            Contender("ours, `irv2-predict`", (tool("irv2-predict"), INT8, PICTURE)),
            runs_model(LITERT, OURS, "ours on LiteRT, script", INT8, threads, 0),
            *(peer.classifies(f"{peer.name}, script", peer.candidate, threads, 0) for peer in TABLE),
        ),
        scale.short,
        shown=milliseconds,
        measure=measure_apart,
        before=partial(make_models, scale.calibration),
    )


def drift_check(scale: Scale) -> Work:
    """The gate alone."""
    images = calibration_data.VALIDATION
    drift = (tool("irv2-drift"), INT8, "--images", images, "--images-size", str(scale.drift), "--no-stop-early")
    plain = (sys.executable, PEERS / "plain_drift.py", FLOAT, INT8, images, str(scale.drift))
    return Work(
        f"Drift check over {scale.drift} images",
        "int8 against float, whole processes. The last row is a loop over both models that decodes, asks both and "
        "counts agreement, without statistics or report.",
        (
            Contender("ours, float model asked", (*drift, "--reference", FLOAT), accepted=JUDGED),
            Contender("ours, stored float answers", (*drift, "--reference", STORED), before=store, accepted=JUDGED),
            Contender("a plain loop, float model asked", plain),
        ),
        scale.long,
        shown=lambda seconds: f"{seconds:.1f} s, {scale.drift / seconds:.0f} images/s",
        before=partial(make_models, scale.calibration),
    )


def large_drift_check(scale: Scale) -> Work:
    """What more images cost the gate."""
    rows = []
    for images in (scale.drift, scale.judged):
        stored, asked = ("--reference", LARGE.stored(images)), ("--reference", LARGE.float)
        saved = ("--save-reference", LARGE.stored(images))
        rows.append(judges(f"ours, float model asked, {images:,} images", images, *asked, *saved))
        rows.append(judges(f"ours, stored float answers, {images:,} images", images, *stored))
    return Work(
        f"Drift check of more images at {LARGE.size} × {LARGE.size} pixels",
        "As above, once each; where the float model is asked its answers are stored, too. The pictures are those of "
        "validation, mirrored, and moved by a pixel.",
        tuple(rows),
        1,
        before=partial(make_models, scale.calibration, LARGE),
    )


def preprocessing(scale: Scale) -> Work:
    """A large photograph."""
    return Work(
        "Preprocessing of a 12-megapixel JPEG",
        f"From the file to the {GROUND.size} × {GROUND.size} pixels of the network, one thread.",
        tuple(
            Contender(name, (sys.executable, HERE / "photo.py", method, PHOTO, INT8))
            for name, method in (("ours", "load_pixels"), ("Pillow, decoded whole and resized", "pillow"))
        ),
        scale.short,
        reported_seconds,
        milliseconds,
        measure=measure_apart,
        before=partial(make_models, scale.calibration),
    )


def prepare(scale: Scale) -> None:
    """What all start from, and what is not timed: networks and images.

    The checkout is compiled as a wheel is when it is installed.
    """
    for package in ("calibration_data", "convert", "edge_runtime"):
        compileall.compile_dir(HERE.parent / package, quiet=2)
    FOLDER.mkdir(parents=True, exist_ok=True)
    LARGE.folder.mkdir(exist_ok=True)
    if not GROUND.network.exists():
        save_keras(ModelSource("demo"), GROUND.network)
    if not LARGE.network.exists():
        save_large(LARGE.network)
    (FOLDER / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    PHOTO.write_bytes(synthetic_photo())
    LARGE.write_judged()
    for images in {scale.calibration, *scale.sweep}:
        GROUND.write_images(images)
        LARGE.write_images(images)
    for images in {scale.calibration, *scale.peer_sweep}:
        GROUND.write_array(images)
    LARGE.write_array(scale.calibration)
    stored = (STORED, LARGE.stored(scale.drift), LARGE.stored(scale.judged))
    for made in (*stored, GROUND.int8, GROUND.float, LARGE.int8, LARGE.float):
        made.unlink(missing_ok=True)  # of another day's code, perhaps


def milliseconds(seconds: float) -> str:
    """In the table."""
    return f"{1000 * seconds:.1f} ms"


def counted_threads(threads: int) -> str:
    """In a heading."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def heading() -> str:
    """Machine and versions."""
    there = [peer.environment for peer in TABLE if peer.environment.python().exists()]
    environments = {environment.name: environment for environment in there}
    versions = "\n".join(f"- {name}: {environment.versions()}" for name, environment in sorted(environments.items()))
    return f"""# Beside its peers

Made by `make bench`. The demo network, Inception-ResNet-V2 of 59.6 million parameters, at {GROUND.size} × {GROUND.size}
pixels where no other size is named. Whole processes take turns; times are wall-clock, memory is the peak of the summed
PSS of a process and all its children; both are medians of the turns. Ratios are to the first row of their table: above
1 is slower, or larger. Only ratios within one run mean anything.

{machine.described()}

{versions}
"""


if __name__ == "__main__":
    main()
