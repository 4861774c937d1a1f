"""The options of `irv2-drift gate`, as one value: what is compared, on which images, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click
from click.core import ParameterSource

from convert.cli.options import FILE, SIZE, WORDS, Command, with_options
from convert.cli.settings import NAME, find
from convert.drift.models import ModelOptions
from convert.drift.on_device import Devices
from convert.drift.run import DriftRequest
from convert.drift.shards import Share
from convert.images.conventions import CONVENTIONS, FIT_HELP, GEOMETRIES, check_fit, check_preprocessing
from convert.images.dataset import ImageSet, find_images
from convert.images.image_labels import IMAGE_LABELS_HELP
from convert.images.labels import notes_on, read_labels
from convert.keras_models.sources import Size, height_and_width
from edge_runtime.delegates import CPU

CONVENTION = "|".join([*CONVENTIONS, "FILE"])
EXCLUDES = {
    "device": ("shard", "scheduler", "reference_kernels", "recorded"),
    "shard": ("scheduler", "as_json", "junit", "html", "csv", "reference_kernels", "recorded"),
    "scheduler": ("reference_kernels", "recorded"),
}
"""Option -> options that mean nothing together with it."""
OF_REPORTS = ("as_json", "junit", "html", "csv")
"""Options that are no mistake beside a shard where only the settings file says them, for runs that have a report."""
HINTS = {
    "device": "run it without a device",
    "shard": "a shard has no verdict, pass it to irv2-drift merge",
    "scheduler": "run it without a scheduler, --images-size 10 is enough",
}
NEEDED = {
    "reference": "pass the float network, or its stored answers (.npz)",
    "images": "pass the folder of images to compare on",
}
"""Option without which nothing can be compared -> what to pass."""
OPTIONS = (
    click.argument("candidate", type=FILE, required=False),
    click.option(
        "--reference",
        type=FILE,
        metavar="FILE",
        help="Float .tflite, Keras file, SavedModel folder, or stored answers (.npz).",
    ),
    click.option("--images", type=FILE, metavar="DIR", help="Images; class folders give labels."),
    click.option("--image-labels", type=FILE, metavar="FILE", help=IMAGE_LABELS_HELP),
    click.option("--images-size", type=click.IntRange(min=1), help="Maximum number of images.  [default: all]"),
    click.option(
        "--preprocessing",
        type=WORDS,
        metavar=CONVENTION,
        help="How images are prepared for a model without a card.",
    ),
    click.option("--fit", type=WORDS, metavar="|".join(GEOMETRIES), help=FIT_HELP),
    click.option(
        "--reference-preprocessing",
        type=WORDS,
        metavar=CONVENTION,
        help="How images are prepared for the reference, if differently.",
    ),
    click.option(
        "--labels", type=FILE, metavar="FILE", help="Labels of a model without a card: text, CSV, JSON, class_indices."
    ),
    click.option("--input-size", type=SIZE, metavar="N|HxW", help="Size of the images, for a model that takes any."),
    click.option(
        "--save-reference",
        type=FILE,
        metavar="FILE.npz",
        help="Store the reference's answers, and judge CANDIDATE only if it is typed, too.",
    ),
    click.option(
        "--stop-early/--no-stop-early",
        default=True,
        show_default=True,
        help="Stop at the first image at which the verdict is certain; the intervals are wider for it. "
        "Shards and workers of a scheduler never stop early.",
    ),
    click.option("--shard", metavar="K/N", help="Only run part K of N of the images, and write its answers to --rows."),
    click.option("--rows", type=FILE, metavar="FILE", help="Where to write the shard.  [default: drift.K-of-N.json]"),
    click.option("--scheduler", metavar="ADDRESS", help="Run on the workers of a dask scheduler, tcp://HOST:PORT."),
    click.option(
        "--reference-kernels",
        is_flag=True,
        help="Also measure what the optimized kernels change, on 4 images; takes minutes.",
    ),
    click.option(
        "--recorded",
        type=FILE,
        metavar="FILE",
        help="Also measure what a device changes: the file that irv2-predict --record wrote there.",
    ),
    click.option(
        "--device",
        multiple=True,
        metavar="ssh://USER@HOST[:PORT]",
        help="Judge the answers of a device, through the OpenSSH client and its configuration; all images are run. "
        "Can be repeated: devices work side by side.",
    ),
    click.option(
        "--delegate",
        metavar="NAME[:key=value,...]",
        help="What computes on the device, as for irv2-predict.  [default: cpu]",
    ),
    click.option("--install", is_flag=True, help="Install on the device what it lacks, in an environment of its own."),
)


def gate_options(command: Command) -> Command:
    """Add the fields of `GateOptions` to a command."""
    return with_options(command, OPTIONS)


@dataclass(frozen=True)
class GateOptions:
    """What a run of the gate was told; None for what it was not."""

    candidate: Path | None
    reference: Path
    images: Path
    image_labels: Path | None
    images_size: int | None
    preprocessing: str | None
    fit: str | None
    reference_preprocessing: str | None
    labels: Path | None
    input_size: Size | None
    save_reference: Path | None
    stop_early: bool
    shard: str | None
    rows: Path | None
    scheduler: str | None
    reference_kernels: bool
    recorded: Path | None
    device: tuple[str, ...]
    delegate: str | None
    install: bool

    @property
    def devices(self) -> Devices | None:
        """Return who answers in place of this machine."""
        return Devices(self.device, self.delegate or CPU, self.install) if self.device else None

    @property
    def share(self) -> Share | None:
        """Return which part of the images is run; a `SourceError` if there is no such part."""
        return None if self.shard is None else Share.parse(self.shard)

    def rows_path(self, share: Share) -> Path:
        """Return where a part is written."""
        return self.rows or Path(f"drift.{share.number}-of-{share.count}.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that are written beside reports: stored answers, a part."""
        part = None if self.share is None else self.rows_path(self.share)
        return tuple(path for path in (self.save_reference, part) if path is not None)

    @property
    def opened(self) -> dict[str, Path | None]:
        """Return what is opened, by the names of the options."""
        return {"candidate": self.candidate, "reference": self.reference, "images": self.images}

    def models(self) -> tuple[ModelOptions, list[str]]:
        """Return what is said of models without a card, and what the file of labels was taken for."""
        if self.fit is not None:
            check_fit(self.fit)
        if self.reference_preprocessing is not None:
            check_preprocessing(self.reference_preprocessing, "--reference-preprocessing")
        size = height_and_width(self.input_size)
        if self.labels is None:
            return ModelOptions(self.preprocessing, input_size=size, fit=self.fit), []
        found = read_labels(self.labels)
        notes = notes_on(found, self.labels.name)
        return ModelOptions(self.preprocessing, found.names, size, found.by_wordnet, fit=self.fit), notes

    def to_store(self, models: ModelOptions) -> ImageSet:
        """Return the images to which the reference's answers are stored."""
        return models.named(find_images(self.images)).shuffled()[: self.images_size]

    def request(self, candidate: Path, models: ModelOptions) -> DriftRequest:
        """Return what is compared; a reference that was just saved is compared as stored."""
        return DriftRequest(
            candidate=candidate,
            reference=self.save_reference or self.reference,
            images=self.images,
            images_size=self.images_size,
            options=models,
            reference_preprocessing=self.reference_preprocessing,
            reference_kernels=self.reference_kernels,
            recorded=self.recorded,
            image_labels=self.image_labels,
        )


def only_saving(context: click.Context, asked: GateOptions) -> GateOptions:
    """Return the options without a candidate where the user types --save-reference, and only a file names one."""
    sources = [context.get_parameter_source(name) for name in ("save_reference", "candidate")]
    is_only_saving = sources == [ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP]
    return replace(asked, candidate=None) if is_only_saving else asked


def check_together(context: click.Context) -> None:
    """Refuse options that would be ignored."""
    options = context.params
    missing = next((option for option in NEEDED if options[option] is None), None)
    if missing is not None:
        key, path = "validation" if missing == "images" else missing, find()
        written = f"write {NAME} with irv2-convert init" if path is None else f"write {key} into {path}"
        raise click.UsageError(f"--{missing} is missing: {NEEDED[missing]}, or {written}")
    if options["candidate"] is None and options["save_reference"] is None:
        raise click.UsageError("CANDIDATE is missing: pass a .tflite, or --save-reference FILE.npz")
    is_typed = context.get_parameter_source("stop_early") is ParameterSource.COMMANDLINE
    if options["device"] and is_typed and options["stop_early"]:
        raise click.UsageError("--stop-early does not go with --device: a device answers all images")
    for option, others in EXCLUDES.items():
        other = next((other for other in others if options[other] and not _is_of_reports(context, other)), None)
        if options[option] and other is not None:
            raise click.UsageError(f"{_flag(option)} does not go with {_flag(other)}: {HINTS[option]}")
    if options["rows"] is not None and options["shard"] is None:
        raise click.UsageError("--rows goes with --shard K/N")
    for option in ("delegate", "install"):
        if options[option] and not options["device"]:
            raise click.UsageError(f"{_flag(option)} goes with --device ssh://USER@HOST")


def _is_of_reports(context: click.Context, option: str) -> bool:
    return option in OF_REPORTS and context.get_parameter_source(option) is ParameterSource.DEFAULT_MAP


def _flag(option: str) -> str:
    return "--" + option.removeprefix("as_").replace("_", "-")
