"""What the file of a foreign model says of itself, and what has to be asked: how its images are prepared."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime import specs
from edge_runtime._archive import DAMAGED_ZIP, member
from edge_runtime._graph_check import compiled_operator
from edge_runtime._label_languages import LabelError
from edge_runtime.conventions import CONVENTIONS, fitted, input_spec
from edge_runtime.errors import ArtifactError
from edge_runtime.labels import Labels, decode, parse_lines
from edge_runtime.specs import InputSpec

PROBABILITIES, INDEPENDENT, LOGITS, UNKNOWN = "probabilities", "independent", "logits", "unknown"
"""What a model answers: it ends in a softmax, in sigmoids, in neither, or that is still to be seen from its answers."""

ANY = -1
"""In the place of a side that the file leaves open."""

MOST_PIXELS_A_SIDE = 1024
"""Of a size that metadata give to a model that takes any; whoever wants more can say so."""

ASK = f"pass --preprocessing {'|'.join(CONVENTIONS)} or a JSON file"


@dataclass(frozen=True)
class Metadata:
    """What the metadata say, where they say it.

    Attributes:
        is_image: whether the input is called an image.
        mean, std: of `NormalizationOptions`, one number or one for each channel; empty if there are none.
        size: default height and width.
        label_file: name of the file in the zip that has the labels.
    """

    is_image: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    label_file: str | None = None


@dataclass(frozen=True)
class ForeignFile:
    """What the bytes of a model without a card say.

    Attributes:
        answers: `PROBABILITIES`, `INDEPENDENT`, `LOGITS` or `UNKNOWN`.
        scores: how many numbers it answers.
        metadata: None if there are none, or they were not asked for.
        inputs: how many; of the only one, what follows.
        shape: (1, height, width, channels), with `ANY` for an open side; None for several inputs.
        is_resized: whether the input of an engine has another shape at first.
        is_narrow: whether the input is 8-bit integers, of `scale` and `zero_point`.
    """

    path: Path
    answers: str
    scores: int
    metadata: Metadata | None
    inputs: int
    shape: tuple[int, ...] | None = None
    is_resized: bool = False
    is_narrow: bool = False
    scale: float | None = None
    zero_point: int = 0

    @property
    def head(self) -> str:
        """Return what it ends in, one of `specs.HEADS`; one sigmoid counts as two classes."""
        return specs.INDEPENDENT if self.answers == INDEPENDENT and self.scores != 1 else specs.SOFTMAX

    @property
    def takes_pixels(self) -> bool:
        """Return whether the input is 8-bit integers without a scale."""
        return self.is_narrow and self.scale is None

    @property
    def is_settled(self) -> bool:
        """Return whether it is known what the model answers."""
        return self.answers != UNKNOWN

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width of its images; None if it takes any."""
        return None if self.shape is None or ANY in self.shape[1:3] else (self.shape[1], self.shape[2])

    @property
    def describes_itself(self) -> bool:
        """Return whether nothing has to be asked about how images are prepared, except perhaps for their size."""
        metadata = self.metadata or Metadata()
        return self.takes_pixels or bool(metadata.mean and metadata.std) or (metadata.is_image and self.is_narrow)

    def spec(
        self, preprocessing: str | None = None, size: tuple[int, int] | None = None, fit: str | None = None
    ) -> InputSpec:
        """Return how images are prepared: as given, or else as the metadata say.

        Args:
            preprocessing: a convention or a JSON file.
            size: height and width, for a model that takes any.
            fit: as `conventions.fitted` takes it; metadata say nothing of it.

        Raises:
            ArtifactError: neither says it, or what is given does not fit the model.
        """
        return fitted(self._scaled(preprocessing, size), fit)

    def _scaled(self, preprocessing: str | None, size: tuple[int, int] | None) -> InputSpec:
        height, width = self._size(size)
        if preprocessing in CONVENTIONS and (height is None or width is None):
            raise ArtifactError(self._size_unknown())
        if preprocessing is not None:
            return input_spec(preprocessing, height, width, self._channels)
        if not self.describes_itself:
            raise ArtifactError(f"{self.path} has no card, and does not say how its images are prepared: {ASK}")
        if height is None or width is None:
            raise ArtifactError(self._size_unknown())
        mean, std = self._normalization()
        try:
            channels = self._channels
            return InputSpec(height, width, _each(mean, channels), _each(std, channels), channels=channels)
        except ArtifactError as error:
            raise ArtifactError(f"{self.path}: its metadata are no use, {ASK}: {error}") from error

    def labels(self) -> Labels | None:
        """Return the labels that the file carries; None if it names none.

        Raises:
            ArtifactError: it names some that are not there or cannot be read.
        """
        name = None if self.metadata is None else self.metadata.label_file
        if name is None:
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:
                return parse_lines(decode(member(archive, name, self.path)))
        except KeyError as error:
            reason = "which is not in the file"
            raise ArtifactError(self._no_labels(name, reason)) from error
        except LabelError as error:
            raise ArtifactError(self._no_labels(name, f"which {error}")) from error
        except (zipfile.BadZipFile, UnicodeDecodeError, *DAMAGED_ZIP) as error:
            reason = f"which cannot be read ({error}): it is cut off or damaged"
            raise ArtifactError(self._no_labels(name, reason)) from error

    def input_shape(self, spec: InputSpec) -> tuple[int, int, int, int] | None:
        """Return the shape to give to the input before it is used, None if it has it; `ArtifactError` if none fits."""
        if not self.is_resized or self.shape is None:
            return None
        made = (1, spec.height, spec.width, spec.channels)
        if not _fits(self.shape, made):
            raise ArtifactError(
                f"{self.path} takes {shown(self.shape)}, the preprocessing makes {made}: they do not belong together"
            )
        return made

    @property
    def _channels(self) -> int:
        return 3 if self.shape is None else self.shape[3]

    def _no_labels(self, name: str, reason: str) -> str:
        if compiled_operator(self.path) is not None:
            return f"{self.path}: its compiler left {name!r} out: irv2-convert attach adds it, or pass --labels FILE"
        return f"{self.path}: its metadata name {name!r}, {reason}: copy the file again, or pass --labels FILE"

    def _size(self, given: tuple[int, int] | None) -> tuple[int | None, int | None]:
        """Return height and width: the model's, those given, or those of the metadata; None if only a file may say."""
        if self.shape is None:
            raise ArtifactError(f"{self.path} has {self.inputs} inputs: an image classifier has one")
        own = self.shape[1:3]
        if given is not None and not _fits(own, given):
            raise ArtifactError(
                f"--input-size {given[0]}x{given[1]} does not fit {self.path}: it takes {sides_of(own)} alone"
            )
        if self.size is not None:
            return self.size
        said = None if self.metadata is None else self.metadata.size
        if given is None and said is not None and (max(said) > MOST_PIXELS_A_SIDE or not _fits(own, said)):
            raise ArtifactError(
                f"{self.path}: its metadata ask for {said[0]}x{said[1]} images: pass --input-size if they mean it"
            )
        sides = (None if side == ANY else side for side in own)
        return given or said or (next(sides), next(sides))

    def _size_unknown(self) -> str:
        sides = sides_of(() if self.shape is None else self.shape[1:3])
        size = "any size" if sides == "anyxany" else f"{sides} pixels"
        return f"{self.path} takes images of {size}: pass --input-size N or HEIGHTxWIDTH"

    def _normalization(self) -> tuple[Sequence[float], Sequence[float]]:
        if self.takes_pixels:
            return (0.0,), (1.0,)
        if self.metadata is not None and self.metadata.mean and self.metadata.std:
            return self.metadata.mean, self.metadata.std
        assert self.scale is not None
        lowest = self.zero_point if self.is_narrow else 0
        return (float(lowest),), (1 / self.scale,)


def _fits(own: Sequence[int], size: Sequence[int]) -> bool:
    return all(side in (ANY, other) for side, other in zip(own, size, strict=True))


def sides_of(sides: Sequence[int]) -> str:
    """Return "8xany" for a side that is fixed and one that is open."""
    return "x".join("any" if side == ANY else str(side) for side in sides)


def shown(shape: Sequence[int]) -> str:
    """Return a shape as Python prints it, with "any" for open sides."""
    return f"({sides_of(shape).replace('x', ', ')})"


def _each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return one number for each channel."""
    each = tuple(map(float, values)) * (channels if len(values) == 1 else 1)
    if len(each) != channels:
        raise ArtifactError(f"preprocessing: {len(each)} numbers for {channels} channels")
    return each
