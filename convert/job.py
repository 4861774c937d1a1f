"""What to convert and how, with each option of a conversion listed once.

A field of `Job` carries all that is known about its option: the command line takes its name, type, default and help
from here, a card records it if it is `recorded`, and verification takes it from the card. To add an option, add a field
here and use it in its stage.
"""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from convert.images.conventions import (
    CONVENTIONS,
    FIT_HELP,
    GEOMETRIES,
)
from convert.images.dataset import ImageSet, Snapshot, manifest_sha256
from convert.images.image_labels import IMAGE_LABELS_HELP
from convert.keras_models.sources import ModelSource, as_size
from convert.quantization import calibrators
from convert.quantization.schemes import IO_CHOICES, SCHEMES, Scheme, unrecovered
from convert.statistics.verdict import Limits
from convert.system.machine import machine
from edge_runtime import Card
from edge_runtime.hashing import file_sha256

ASKED = "asked_scheme"
"""Key of the scheme that was asked for, in the record of an artifact that may not have its name."""
MOST_VALIDATED = 1000
"""The largest number of images that drift is measured on unless another is asked for."""


@dataclass(frozen=True)
class Option:
    """How a field is given on the command line, and whether cards record it.

    Attributes:
        help: what it is for; for a Boolean field, what its flag does, which is the opposite of its default.
        name: on the command line, without dashes; None for the field's, after "no-" if it is True by default.
        metavar: what stands for the value in the help.
        choices: all values it may take.
        auto: whether "auto" is a value, which stands for None.
        recorded: whether it decides about a byte of the artifact and is recorded in `source.build` of its card.
    """

    help: str
    name: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    auto: bool = False
    recorded: bool = False


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a field of a dataclass that is an option; `more` are attributes of `Option`."""
    return field(default=default, metadata={"option": Option(help, **more)})


def options_of(kind: type[Any]) -> dict[Field[Any], Option]:
    """Return the fields of a dataclass that are options."""
    return {each: each.metadata["option"] for each in fields(kind) if "option" in each.metadata}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What an artifact is made from, beside the network; None for what the network brings, or the bundled images."""

    labels: Path | None = option(
        None, "Names of the classes in the network's order: text, CSV, JSON, class_indices.", metavar="FILE"
    )
    preprocessing: str | None = option(
        None,
        "How images were prepared in training; needed where the network's file does not say it.",
        metavar="|".join([*CONVENTIONS, "FILE"]),
    )
    fit: str | None = option(None, FIT_HELP, metavar="|".join(GEOMETRIES))
    calibration: Path | None = option(None, "Images to calibrate on.", metavar="DIR")
    validation: Path | None = option(
        None, "Other images, to measure drift on; class folders give labels.", metavar="DIR"
    )
    image_labels: Path | None = option(None, IMAGE_LABELS_HELP, metavar="FILE")


@dataclass(frozen=True)
class Job(Sources):
    """What to convert, and how; each scheme becomes an artifact."""

    source: ModelSource
    schemes: tuple[Scheme, ...]
    limits: Limits = field(default_factory=Limits)
    calibration_size: int | None = option(
        100,
        "Maximum number of calibration images; auto: until the ranges have converged.",
        metavar="N|auto",
        auto=True,
        recorded=True,
    )
    calibrator: str = option(
        calibrators.DEFAULT,
        "How the range of each activation is chosen; auto: whichever does best on held-out images.",
        choices=(*calibrators.CALIBRATORS, calibrators.AUTO),
        recorded=True,
    )
    keep_float: str | None = option(None, "Layers that scheme mixed keeps in float.", metavar="REGEX", recorded=True)
    recover: bool = option(False, "If int8 does not pass, find the fewest layers to keep in float.", recorded=True)
    validation_size: int | None = option(
        None,
        "Maximum number of images to measure drift on; auto: 1000, on reference kernels as many as take 2 minutes.",
        metavar="N|auto",
        auto=True,
        recorded=True,
    )
    validate: bool = option(True, "Do not measure drift.")
    thumbnails: bool = option(True, "Leave images and folder names out of the HTML report.")
    io: str | None = option(
        None, "Data type of the artifact's input and output.  [default: by scheme]", choices=IO_CHOICES, recorded=True
    )
    target_runtime: str | None = option(
        None, "Refuse what this runtime cannot run, as tflite-runtime-2.14.", metavar="NAME"
    )
    scheduler: str | None = option(
        None, "Measure the calibration images on the workers of a dask scheduler, tcp://HOST:PORT.", metavar="ADDRESS"
    )
    output_dir: Path = option(Path("build"), "Where artifacts and reports go.", metavar="DIR")
    use_cache: bool = option(True, "Neither use nor keep results of slow stages.", name="no-cache")

    def recorded(self, inputs: Inputs, io: str) -> dict[str, Any]:
        """Return what a card holds as `source.build`, so that `from_card` can convert again.

        It has no path, no time, and nothing else that differs from run to run. `io` is the artifact's, see `Inputs`.
        """
        return {
            **{each.name: getattr(self, each.name) for each, option in options_of(Job).items() if option.recorded},
            "validation_size": self.validation_size or MOST_VALIDATED,
            **({} if self.fit is None else {"fit": self.fit}),
            "classes": self.source.classes,
            "input_size": self.source.input_size,
            **({} if self.source.architecture is None else {"architecture": self.source.architecture}),
            "io": io,
            "calibration_manifest_sha256": inputs.calibration and manifest_sha256(inputs.calibration, inputs.held_out),
            "validation_manifest_sha256": inputs.validation and manifest_sha256(inputs.validation),
            **({} if self.image_labels is None else {"image_labels_sha256": file_sha256(self.image_labels)}),
            "limits": asdict(self.limits),
            "machine": machine(),
        }

    @classmethod
    def from_card(cls, card: Card, source: ModelSource, given: Sources, output_dir: Path) -> Job:
        """Return the conversion that made an artifact, from its card and from what it is said to be made from.

        An option that the card does not know has its default: the artifact is older than the option.
        """
        build = card.source["build"]
        recorded = {
            each.name: build[each.name]
            for each, option in options_of(cls).items()
            if option.recorded and each.name in build
        }
        scheme = SCHEMES[build.get(ASKED, card.scheme)]
        if not scheme.keeps_layers:  # it was meant for another scheme of the same run
            recorded["keep_float"] = None
        return cls(
            source=replace(
                source,
                classes=build["classes"] if source.weights is not None else None,
                input_size=source.input_size or as_size(build["input_size"]),
                architecture=build.get("architecture") if source.weights is not None else None,
            ),
            schemes=(unrecovered(scheme) if build["recover"] else scheme,),
            limits=Limits(**build["limits"]),
            **{**vars(given), "fit": given.fit or build.get("fit")},
            **recorded,
            validate=build["validation_manifest_sha256"] is not None,
            thumbnails=False,
            output_dir=output_dir,
            use_cache=False,  # what is recalled proves nothing
        )


@dataclass(frozen=True)
class Inputs:
    """The checked inputs of a job.

    Attributes:
        calibration, validation: images, shuffled and cut to size; None if none are needed.
        held_out: calibration images to judge alternatives by; None if there are no alternatives.
        preprocessing: convention or file; None if the network's file has to say it.
        io: scheme name -> data type that the artifact's input and output should have; it is float32 where the network
            cannot have it and none was asked for.
        files: state of all images when they were chosen.
        available: number of calibration images that there are, of which those of `calibration` and `held_out` are used.
        notes: what was recognised and what was left out, for the user.
    """

    calibration: ImageSet | None
    held_out: ImageSet | None
    validation: ImageSet | None
    preprocessing: str | None
    labels: tuple[str, ...] | None
    io: dict[str, str]
    files: Snapshot
    notes: tuple[str, ...] = ()
    available: int = 0
