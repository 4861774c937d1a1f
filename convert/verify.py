"""Check whether an artifact is what its card says, its inputs are unchanged, and they give it again, byte for byte."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.checking import image_folders
from convert.errors import SourceError
from convert.images.conventions import every_key, fitted, input_spec
from convert.images.dataset import find_images, manifest_sha256
from convert.images.labels import read_labels
from convert.job import Job, Sources
from convert.keras_models.sources import DEMO, DEMO_WEIGHTS, ModelSource, as_size, size_text
from convert.pipeline import convert
from convert.quantization import convergence
from convert.system.machine import machine, version
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from edge_runtime import Card, InputSpec
from edge_runtime.artifact import Artifact, open_artifact
from edge_runtime.custom_operators import COMPILED_FOR
from edge_runtime.hashing import file_sha256

SAME, CHANGED, NOT_GIVEN, NOT_RECORDED = "same", "changed", "not given", "not recorded"
TENSORFLOW = ("tensorflow", "tensorflow-cpu")
"""Two distributions of the same package; a card calls both by the first name."""


@dataclass(frozen=True)
class Input:
    """One input of an artifact: what its card recorded, and what was found now; None if that is unknown."""

    name: str
    recorded: str | None
    found: str | None

    @property
    def state(self) -> str:
        """Return `SAME`, `CHANGED`, or why neither can be said."""
        if self.found is None:
            return NOT_GIVEN
        if self.recorded is None:
            return NOT_RECORDED
        return SAME if self.recorded == self.found else CHANGED


@dataclass(frozen=True)
class Verification:
    """What was found about an artifact whose checksums hold.

    Attributes:
        inputs: compared one by one; empty if nothing was given to compare with.
        differences: parts in which the rebuilt file differs from the artifact; None if it was not built again.
        identical: whether the rebuilt file is the same, byte for byte; None if it was not built again.
    """

    artifact: Artifact
    inputs: list[Input]
    differences: list[str] | None = None
    identical: bool | None = None

    @property
    def changed(self) -> list[str]:
        """Return the names of the inputs that have changed."""
        return [each.name for each in self.inputs if each.state == CHANGED]

    @property
    def not_given(self) -> list[str]:
        """Return the sets of images that it was made with and that were not given; without them nothing is built."""
        return [each.name for each in self.inputs if each.name in ("calibration", "validation") and each.found is None]

    @property
    def holds(self) -> bool:
        """Return whether no input and no byte differs."""
        return not self.changed and self.identical is not False

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "artifact": str(self.artifact.path),
            "sha256": {**self.artifact.card.sha256, "file": file_sha256(self.artifact.path)},
            "inputs": [{**vars(each), "state": each.state} for each in self.inputs],
            "changed": self.changed,
            "rebuilt": self.identical is not None,
            "identical": self.identical,
            "differences": self.differences,
        }


def verify(path: Path, network: ModelSource | None, given: Sources, progress: Progress) -> Verification:
    """Check an artifact's checksums, compare its inputs with its card, and build it again if none has changed.

    Args:
        network: what it is said to be made from; without it, the artifact is not built again.
        given: what else it is said to be made from; what is not given is not compared.

    Raises:
        ArtifactError: a checksum does not hold.
        ConvertError: a source cannot be used, or the card does not say how the artifact was made.
    """
    artifact = open_artifact(path)
    if network is None and given == Sources():
        return Verification(artifact, [])
    if COMPILED_FOR in artifact.card.source:
        raise SourceError(f"{path} was compiled by a program that cannot be run here: verify what it was compiled from")
    if "build" not in artifact.card.source:
        raise SourceError(
            f"the card of {path} does not say how it was made, as those of earlier versions: convert it again"
        )
    progress.stage("comparing inputs")
    compared = Verification(artifact, list(_inputs(artifact.card, network, given)))
    if compared.changed or compared.not_given or network is None:
        return compared
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        outcomes = convert(Job.from_card(artifact.card, network, given, scratch), progress)
        rebuilt = next(outcome.path for outcome in outcomes if outcome.scheme.name == artifact.card.scheme)
        identical = rebuilt.read_bytes() == path.read_bytes()
        return replace(compared, identical=identical, differences=differences(artifact, open_artifact(rebuilt)))


def differences(ours: Artifact, theirs: Artifact) -> list[str]:
    """Return the parts, and the keys of the card such as "drift.sqnr_db", in which two artifacts differ."""
    parts = [part for part in ("flatbuffer", "labels") if ours.card.sha256[part] != theirs.card.sha256[part]]
    return parts + [f"card: {key}" for key in _differing(_facts(ours), _facts(theirs)) if not key.startswith("sha256")]


def _facts(artifact: Artifact) -> dict[str, Any]:
    card = artifact.card
    return {**vars(card), "input": vars(card.input), "output": vars(card.output)}


def _differing(ours: dict[str, Any], theirs: dict[str, Any], above: str = "") -> Iterator[str]:
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differing(a, b, f"{above}{key}.")
        elif a != b:
            yield f"{above}{key}"


def _inputs(card: Card, network: ModelSource | None, given: Sources) -> Iterator[Input]:
    """Yield each input that the card knows and that decides about a byte of the artifact."""
    build = card.source["build"]
    yield _hash("weights", card.source.get("weights_sha256"), _weights(network))
    yield Input("name", card.name, None if network is None else network.name)
    if network is not None and network.input_size is not None:
        yield Input("input size", size_text(as_size(build["input_size"])), size_text(network.input_size))
    for name in ("classes", "architecture"):  # the weights tell them where they are not recorded
        if network is not None and getattr(network, name) is not None and build.get(name) is not None:
            yield Input(name, str(build[name]), str(getattr(network, name)))
    yield _preprocessing(card, network, given)
    yield _hash("labels", card.sha256["labels"], _labels(given.labels))
    sizes = (build["calibration_size"] or convergence.MOST, build["validation_size"])
    for name, folder, size in zip(("calibration", "validation"), image_folders(network, given), sizes, strict=True):
        recorded = build[f"{name}_manifest_sha256"]
        if recorded is not None:
            images = None if folder is None else find_images(folder).shuffled()[:size]
            yield _hash(name, recorded, None if images is None else manifest_sha256(images))
    if "image_labels_sha256" in build or given.image_labels is not None:
        recorded = build.get("image_labels_sha256")
        yield _hash("image labels", recorded, None if given.image_labels is None else file_sha256(given.image_labels))
    for key, value in machine().items():
        recorded = build["machine"].get(key)
        yield Input(key.replace("_", " "), None if recorded is None else str(recorded), str(value))
    for package, recorded in card.versions.items():
        distributions = TENSORFLOW if package == TENSORFLOW[0] else (package,)
        found = next(filter(None, map(version, distributions)), "not installed")
        yield Input(package, recorded, found)


def _weights(network: ModelSource | None) -> str | None:
    """Hash the weights of the demo or of a file; those that Keras downloads are compared when they are built from."""
    if network is None:
        return None
    network.check()
    return file_sha256(DEMO_WEIGHTS) if network.file is None and network.model == DEMO else network.sha256()


def _preprocessing(card: Card, network: ModelSource | None, given: Sources) -> Input:
    """Return the parts of the preprocessing that differ, or the size if none does."""
    ours = network is not None and network.is_ours
    named, spec = given.preprocessing or ("tf" if ours else None), card.preprocessing
    recorded = every_key(InputSpec.from_json(card.source.get("preprocessing", spec.to_json())))
    fit = given.fit or card.source["build"].get("fit")
    if named is None and given.fit is None:
        return Input("preprocessing", _spec(recorded, ["height", "width"]), None)
    known = InputSpec.from_json(recorded)
    said = known if named is None else input_spec(named, spec.height, spec.width, spec.channels)
    found = every_key(fitted(said, fit))
    shown = [key for key in recorded if recorded[key] != found[key]] or ["height", "width"]
    return Input("preprocessing", _spec(recorded, shown), _spec(found, shown))


def _spec(value: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key} {_triple(value[key])}" for key in keys)


def _triple(value: Any) -> str:
    return " ".join(map(str, dict.fromkeys(value))) if isinstance(value, list) else str(value)


def _labels(path: Path | None) -> str | None:
    if path is None:
        return None
    return hashlib.sha256("".join(f"{label}\n" for label in read_labels(path).names).encode()).hexdigest()


def _hash(name: str, recorded: str | None, found: str | None) -> Input:
    """Return an input that is compared by hash, of which the first digits are shown."""
    return Input(name, recorded and recorded[:16], found and found[:16])
