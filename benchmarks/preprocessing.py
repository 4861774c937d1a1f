"""How often a wrong preprocessing is noticed, and a right one blamed: PREPROCESSING.md.

    python benchmarks/preprocessing.py --photographs DIR

DIR has photographs of ImageNet's classes, as for pretrained.py. Each trial is the check of a conversion on other 160 of
them; what a network answered for a photograph in an earlier trial is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from convert.images.conventions import fitted, input_spec
from convert.images.dataset import ImageSet
from convert.images.preprocessing_check import MOST, other_reading
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, load_pixels, normalize
from photographs import find_photographs
from pretrained import save
from published import NETWORKS, Published

WRONG = ("tf", "unit", "torch", "caffe", "none")
"""Conventions that are given in place of the network's own."""
SEED = 0
AT_ONCE = 50


@dataclass(frozen=True)
class Remembering:
    """The answers of a network for pixels scaled in one way or another; `runs` counts what was asked for."""

    model: Any
    answers: dict[tuple[InputSpec, int], Array] = field(default_factory=dict)
    runs: list[int] = field(default_factory=list)

    def __call__(self, spec: InputSpec, pixels: Sequence[Pixels]) -> Array:
        """Return probabilities, (images, classes)."""
        keys = [(spec, hash(each.tobytes())) for each in pixels]
        self.runs.append(len(pixels))
        new = [i for i, key in enumerate(keys) if key not in self.answers]
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            scaled = np.stack([normalize(pixels[i], spec) for i in part])
            for i, answer in zip(part, np.asarray(self.model(scaled)), strict=True):
                self.answers[keys[i]] = answer
        return np.stack([self.answers[key] for key in keys])


@click.command(help=__doc__)
@click.option("--photographs", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--network", "name", default="efficientnet-lite0", show_default=True)
@click.option("--images", default=400, show_default=True, help="Photographs, at most.")
@click.option("--trials", default=40, show_default=True)
@click.option("--folder", type=Path, default=Path("build/pretrained"), show_default=True)
@click.option("--output", type=Path, default=Path(__file__).with_name("PREPROCESSING.md"), show_default=True)
def main(photographs: Path, name: str, images: int, trials: int, folder: Path, output: Path) -> None:
    import keras
    import tensorflow as tf

    network = NETWORKS[name]
    place = folder / name
    save(network, folder / "packages", place / "network.keras")
    model = keras.saving.load_model(place / "network.keras")
    remembering = Remembering(tf.function(lambda images: model(images, training=False), reduce_retracing=True))
    labels, taken = image_set(photographs, images)
    rows = [row(title, spec, remembering, labels, taken, trials) for title, spec in given(network, place).items()]
    output.write_text(page(network, len(taken), trials, rows))


def image_set(folder: Path, most: int) -> tuple[tuple[str, ...], ImageSet]:
    """Return the names of the classes and a seeded choice of photographs."""
    found = find_photographs(folder)
    labels = tuple(sorted({photograph.label for photograph in found}))
    chosen = [found[i] for i in np.random.default_rng(SEED).permutation(len(found))[:most]]
    return labels, ImageSet(folder, tuple(each.path for each in chosen), tuple(each.label for each in chosen))


def given(network: Published, place: Path) -> Mapping[str, InputSpec]:
    """Return what is said of a network: as it was trained, and wrongly."""
    pixels = network.geometry.pixels
    own = input_spec(network.preprocessing_option(place), pixels, pixels)
    right = replace(fitted(own, "imagenet-tf"), decode="scaled")
    others = {f"`{name}`": input_spec(name, pixels, pixels) for name in WRONG}
    return {
        "as it was trained": right,
        **{
            name: replace(right, mean=other.mean, std=other.std, channel_order=other.channel_order)
            for name, other in others.items()
        },
        "stretched": replace(own, decode="scaled"),
    }


def row(
    title: str, spec: InputSpec, network: Remembering, labels: tuple[str, ...], images: ImageSet, trials: int
) -> str:
    """Return a row of the table: accuracy on all images, and what was said in the trials."""
    read = np.stack([load_pixels(path, spec) for path in images.paths])
    truth = images.truth(labels)
    assert truth is not None
    accuracy = float(np.mean(network(spec, list(read)).argmax(axis=1) == np.asarray(truth)))
    said, runs = {"error": 0, "warning": 0, "nothing": 0}, []
    for sample in samples(images, trials):
        network.runs.clear()
        reading = other_reading(network, spec, labels, sample)
        doubted = reading is not None and reading.is_worth_a_note
        far = reading is not None and reading.is_far_better
        said["error" if far else "warning" if doubted else "nothing"] += 1
        runs.append(sum(network.runs))
    click.echo(f"{title}: {accuracy:.1%}, {said}, {np.mean(runs):.0f} inferences", err=True)
    return f"| {title} | {accuracy:.1%} | {' | '.join(map(str, said.values()))} | {np.mean(runs):.0f} |"


def samples(images: ImageSet, trials: int) -> Iterator[ImageSet]:
    """Yield `MOST` of the images for each trial."""
    generator = np.random.default_rng(SEED)
    for _ in range(trials):
        chosen = generator.permutation(len(images))[:MOST]
        folders = images.folders or ()
        yield replace(images, paths=tuple(images.paths[i] for i in chosen), folders=tuple(folders[i] for i in chosen))


def page(network: Published, images: int, trials: int, rows: Sequence[str]) -> str:
    """Return the table with what it means."""
    return "\n".join(
        [
            "# Is a wrong preprocessing noticed?",
            "",
            f"{network.title}, trained on the middle of its pictures, pixels scaled by",
            f"{network.preprocessing}, given to a conversion in other ways: its accuracy in",
            f"float on {images} photographs, and what the check of a conversion said in {trials} trials, each on",
            f"{MOST} of them at most. Made by `python benchmarks/preprocessing.py`.",
            "",
            "| `--preprocessing`, `--fit` | accuracy | error | warning | nothing | inferences |",
            "|---|--:|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
