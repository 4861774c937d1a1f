"""The card: an artifact's description of itself, as JSON in the zip at its end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from edge_runtime.errors import ArtifactError
from edge_runtime.geometry import STRETCH
from edge_runtime.probe import Probe
from edge_runtime.specs import HEADS, SOFTMAX, InputSpec, TensorSpec

CARD_VERSIONS = (1, 2, 3, 4)
"""The versions that are read.

A card has the oldest that can express it: 2 if `decode` is not "full", 3 if `head` is not "softmax" or
images are grey, 4 if their `fit` is not "stretch" or their filter is TensorFlow's.
"""


@dataclass(frozen=True)
class Card:
    """A card; its attributes are the keys of the JSON object.

    `sha256` maps "flatbuffer", "labels" and "card" to their hashes. `probe` is None, and its key absent, in cards that
    were written before there was one. `head` is one of `specs.HEADS`; its key is absent where it is "softmax".
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
    head: str = SOFTMAX
    card_version: int = field(init=False)

    def __post_init__(self) -> None:
        spec = self.preprocessing
        needs = {
            2: spec.decode != "full",
            3: self.head != SOFTMAX or spec.channels != 3,
            4: spec.fit != STRETCH or not spec.is_antialiased,
        }
        version = max((number for number, is_needed in needs.items() if is_needed), default=1)
        object.__setattr__(self, "card_version", version)

    def to_bytes(self) -> bytes:
        """Return the card as UTF-8 JSON, one key per line; the same card always gives the same bytes."""
        value = {**vars(self), "preprocessing": self.preprocessing.to_json()}
        if self.probe is None:
            del value["probe"]
        if self.head == SOFTMAX:
            del value["head"]
        return json.dumps(value, default=vars, indent=1, sort_keys=True, ensure_ascii=False).encode()

    def own_sha256(self) -> str:
        """Return the SHA-256 of the card without that hash itself."""
        others = {key: value for key, value in self.sha256.items() if key != "card"}
        return hashlib.sha256(replace(self, sha256=others).to_bytes()).hexdigest()

    def signed(self) -> Card:
        """Return the card with its own hash filled in."""
        return replace(self, sha256={**self.sha256, "card": self.own_sha256()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Card:
        """Read what `to_bytes` wrote.

        Raises:
            ArtifactError: it is not a card, of an unknown version, or its own hash does not match.
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
            if not isinstance(card.classes, int) or card.classes < 1:
                raise ValueError(f"classes {card.classes!r}")
            if not isinstance(card.sha256, dict) or not isinstance(card.source, dict):
                raise ValueError(f"sha256 {card.sha256!r:.40}, source {card.source!r:.40}")
            if card.head not in HEADS:
                raise ValueError(f"head {card.head!r}")
            if card.probe is not None and len(card.probe.probabilities) != card.classes:
                raise ValueError(f"{len(card.probe.probabilities)} probabilities for {card.classes} classes")
            if card.card_version != version:
                raise ValueError(f"version {version!r} for a card of version {card.card_version}")
            own = card.own_sha256()
        except ArtifactError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ArtifactError(f"card.json is not a card of this project: {error!r}") from error
        if card.sha256.get("card") != own:
            raise ArtifactError("the checksum of the card does not match: it was changed or damaged; copy it again")
        return card
