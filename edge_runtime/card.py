"""The card: what an artifact says about itself, as JSON in the zip at its tail."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

from edge_runtime.errors import ArtifactError
from edge_runtime.preprocess import InputSpec
from edge_runtime.probe import Probe

CARD_VERSIONS = (1, 2)
"""Those that are read. A card has the oldest that can say what it says: 2 where `decode` is not "full"."""

ENCODINGS = ("pixels", "normalized")


@dataclass(frozen=True)
class TensorSpec:
    """One end of the network.

    Attributes:
        name: of the signature's argument: "image" or "probabilities".
        dtype: "uint8", "int8" or "float32".
        scale, zero_point: real = scale * (q - zero_point); None for float32.
        encoding: "pixels": the tensor holds the pixels themselves (int8: minus 128), no arithmetic;
            "normalized": it holds (pixels - mean) / std, quantized when it is an integer.
    """

    name: str
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    encoding: str = "normalized"

    def __post_init__(self) -> None:
        if self.dtype not in ("uint8", "int8", "int16", "float32"):
            raise ArtifactError(f"card: {self.name} has dtype {self.dtype!r}, which this runtime cannot feed or read")
        if self.encoding not in ENCODINGS:
            raise ArtifactError(f"card: {self.name} has encoding {self.encoding!r}, none of {ENCODINGS}")
        if self.encoding == "pixels" and self.dtype not in ("uint8", "int8"):
            raise ArtifactError(f"card: {self.name} cannot hold pixels as {self.dtype}: only uint8 and int8 can")
        if not _is_affine(self.scale, self.zero_point):
            raise ArtifactError(
                f"card: {self.name} has scale {self.scale!r} and zero point {self.zero_point!r}: "
                "a positive number and an integer, or neither"
            )


def _is_affine(scale: float | None, zero_point: int | None) -> bool:
    if scale is None or zero_point is None:
        return scale is zero_point
    return isinstance(scale, (int, float)) and math.isfinite(scale) and scale > 0 and isinstance(zero_point, int)


@dataclass(frozen=True)
class Card:
    """Attributes as in the JSON object of the same keys; `sha256` maps flatbuffer, labels and card to their hashes.

    `probe` is None, and its key left out, in cards that were written before there was one.
    """

    name: str
    architecture: str
    classes: int
    scheme: str
    preprocessing: InputSpec
    input: TensorSpec
    output: TensorSpec
    sha256: dict[str, str]
    source: dict[str, Any]
    calibration: dict[str, Any] | None
    drift: dict[str, Any] | None
    versions: dict[str, str]
    minimum_runtime: str
    probe: Probe | None = None
    card_version: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "card_version", 1 if self.preprocessing.decode == "full" else 2)

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, the same for the same card, one key a line."""
        value = {**vars(self), "preprocessing": self.preprocessing.to_json()}
        value |= {"input": vars(self.input), "output": vars(self.output)}
        if self.probe is None:
            del value["probe"]
        else:
            value["probe"] = self.probe.to_json()
        return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()

    def own_sha256(self) -> str:
        """SHA-256 of the card with this very hash left out."""
        others = {key: value for key, value in self.sha256.items() if key != "card"}
        return hashlib.sha256(replace(self, sha256=others).to_bytes()).hexdigest()

    def signed(self) -> Card:
        """The card with its own hash filled in."""
        return replace(self, sha256={**self.sha256, "card": self.own_sha256()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Card:
        """Read what `to_bytes` wrote.

        Raises:
            ArtifactError: not a card, of another version, or its own hash does not hold.
        """
        try:
            value = json.loads(data)
            version = value["card_version"]
            if version not in CARD_VERSIONS:
                raise ArtifactError(f"card version {version!r} is none of {CARD_VERSIONS}: update the runtime")
            value["preprocessing"] = InputSpec.from_json(value["preprocessing"])
            value["input"], value["output"] = TensorSpec(**value["input"]), TensorSpec(**value["output"])
            if "probe" in value:
                value["probe"] = Probe.from_json(value["probe"])
            del value["card_version"]
            card = cls(**value)
            if not isinstance(card.classes, int) or card.classes < 1 or not isinstance(card.sha256, dict):
                raise ValueError(f"classes {card.classes!r}")
            if card.probe is not None and len(card.probe.probabilities) != card.classes:
                raise ValueError(f"{len(card.probe.probabilities)} probabilities for {card.classes} classes")
            if card.card_version != version:
                raise ValueError(f"version {version!r} for preprocessing of version {card.card_version}")
            own = card.own_sha256()
        except ArtifactError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ArtifactError(f"card.json is not a card of this project: {error!r}") from error
        if card.sha256.get("card") != own:
            raise ArtifactError("the checksum of the card does not hold: it was changed or damaged; copy it again")
        return card
