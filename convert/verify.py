"""Is an artifact what its card says, are its inputs still what they were, and do they give it again, byte for byte?"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import calibration_data
from convert import provenance
from convert.errors import SourceError
from convert.images.conventions import input_spec
from convert.images.dataset import find_images
from convert.job import Job, read_labels
from convert.keras_models import sources
from convert.keras_models.sources import DEMO, ModelSource
from convert.pipeline import convert
from convert.quantization import convergence
from convert.quantization.schemes import SCHEMES
from convert.statistics.verdict import Limits
from convert.system.machine import machine
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from edge_runtime import InputSpec
from edge_runtime.artifact import Artifact, open_artifact
from edge_runtime.hashing import file_sha256

SAME, CHANGED, NOT_GIVEN, NOT_RECORDED = "same", "changed", "not given", "not recorded"
DISTRIBUTIONS = {"tensorflow": ("tensorflow", "tensorflow-cpu")}
"""Package of a card -> the distributions that may contain it, where it is not the one of the same name."""


@dataclass(frozen=True)
class Sources:
    """What an artifact is said to be made from; None for what was not given.

    Attributes:
        network: where the network comes from.
        preprocessing: convention or file.
        labels: text file.
        calibration, validation: image folders.
    """

    network: ModelSource | None = None
    preprocessing: str | None = None
    labels: Path | None = None
    calibration: Path | None = None
    validation: Path | None = None

    @property
    def is_demo(self) -> bool:
        """Whether the bundled images stand in for folders that were not given."""
        return self.network is not None and self.network.file is None and self.network.model == DEMO

    @property
    def any_given(self) -> bool:
        """Whether there is anything to compare beside the file itself."""
        return any(value is not None for value in vars(self).values())


@dataclass(frozen=True)
class Input:
    """One input of an artifact: what its card says of it, and what is there now; None where one does not know."""

    name: str
    recorded: str | None
    found: str | None

    @property
    def state(self) -> str:
        """`SAME`, `CHANGED`, or why that cannot be said."""
        if self.found is None:
            return NOT_GIVEN
        if self.recorded is None:
            return NOT_RECORDED
        return SAME if self.recorded == self.found else CHANGED


@dataclass(frozen=True)
class Verification:
    """What was found out.

    Attributes:
        artifact: whose checksums hold.
        inputs: compared one by one; empty where nothing was given to compare with.
        differences: parts of the rebuilt file that are not those of the artifact; None where it was not built again.
        identical: whether the rebuilt file is the same, byte for byte; None where it was not built again.
    """

    artifact: Artifact
    inputs: list[Input]
    differences: list[str] | None = None
    identical: bool | None = None

    @property
    def changed(self) -> list[str]:
        """Names of the inputs that are no longer what they were."""
        return [each.name for each in self.inputs if each.state == CHANGED]

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the artifact."""
        return not self.changed and self.identical is not False

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "artifact": str(self.artifact.path),
            "sha256": {**self.artifact.card.sha256, "file": file_sha256(self.artifact.path)},
            "inputs": [{**vars(each), "state": each.state} for each in self.inputs],
            "changed": self.changed,
            "rebuilt": self.identical is not None,
            "identical": self.identical,
            "differences": self.differences,
        }


def verify(path: Path, given: Sources, progress: Progress) -> Verification:
    """Check an artifact's hashes, compare its inputs with what its card recorded, and build it again if none changed.

    Args:
        path: of the artifact.
        given: what it is said to be made from. Without a network, it is not built again.
        progress: told of each stage.

    Raises:
        ArtifactError: a checksum does not hold.
        SourceError: its card does not say how it was made.
        ConvertError: a source cannot be used.
    """
    artifact = open_artifact(path)
    if not given.any_given:
        return Verification(artifact, [])
    if "build" not in artifact.card.source:
        raise SourceError(
            f"the card of {path} does not say how it was made, as those of earlier versions: convert it again"
        )
    progress.stage("comparing inputs")
    compared = Verification(artifact, list(_inputs(artifact, given)))
    if compared.changed or given.network is None:
        return compared
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        outcomes = convert(job(artifact, given, scratch), progress)
        rebuilt = next(outcome.path for outcome in outcomes if outcome.scheme.name == artifact.card.scheme)
        identical = rebuilt.read_bytes() == path.read_bytes()
        return replace(compared, identical=identical, differences=differences(artifact, open_artifact(rebuilt)))


def job(artifact: Artifact, given: Sources, output_dir: Path) -> Job:
    """The conversion that an artifact came from, out of what is given and what its card recorded."""
    card, build = artifact.card, artifact.card.source["build"]
    network = given.network
    assert network is not None
    return Job(
        source=replace(
            network,
            classes=network.classes or (build["classes"] if network.weights is not None else None),
            input_size=network.input_size or build["input_size"],
        ),
        schemes=(SCHEMES["int8" if build["recover"] else card.scheme],),
        preprocessing=given.preprocessing,
        labels=given.labels,
        calibration=given.calibration,
        calibration_size=build["calibration_size"],
        calibrator=build["calibrator"],
        keep_float=build["keep_float"] if SCHEMES[card.scheme].keeps_layers else None,
        recover=build["recover"],
        validation=given.validation,
        validation_size=build["validation_size"],
        io=build["io"],
        output_dir=output_dir,
        limits=Limits(**build["limits"]),
        validate=build["validation_manifest_sha256"] is not None,
        thumbnails=False,
        use_cache=False,  # what is recalled proves nothing
    )


def differences(ours: Artifact, theirs: Artifact) -> list[str]:
    """Names of the parts and of the card's keys, as in "drift.sqnr_db", in which two artifacts differ."""
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


def _inputs(artifact: Artifact, given: Sources) -> Iterator[Input]:
    """One for each input that the card knows, and that decides about a byte of the artifact."""
    card, build = artifact.card, artifact.card.source["build"]
    network = given.network
    yield Input("weights", _short(card.source.get("weights_sha256")), _short(_weights(network)))
    yield Input("name", card.name, None if network is None else network.name)
    for name in ("classes", "input_size"):
        if network is not None and getattr(network, name) is not None:
            yield Input(name.replace("_", " "), str(build[name]), str(getattr(network, name)))
    yield _preprocessing(artifact, given)
    yield Input("labels", _short(card.sha256["labels"]), _short(_labels(given.labels)))
    if build["calibration_manifest_sha256"] is not None:
        yield Input("calibration", _short(build["calibration_manifest_sha256"]), _short(_calibration(build, given)))
    if build["validation_manifest_sha256"] is not None:
        yield Input("validation", _short(build["validation_manifest_sha256"]), _short(_validation(build, given)))
    for key, value in machine().items():
        yield Input(key.replace("_", " "), _text(build["machine"].get(key)), _text(value))
    for package, version in card.versions.items():
        yield Input(package, version, _installed(package))


def _weights(network: ModelSource | None) -> str | None:
    """Of the demo or of a file; the weights that Keras downloads are compared when they are built from."""
    if network is None:
        return None
    network.check()
    path = network.file or (sources.DEMO_WEIGHTS if network.model == DEMO else None)
    return None if path is None else file_sha256(path)


def _preprocessing(artifact: Artifact, given: Sources) -> Input:
    """What differs of it, or its size where nothing does."""
    ours = given.network is not None and given.network.is_ours
    named, spec = given.preprocessing or ("tf" if ours else None), artifact.card.preprocessing
    recorded = _complete(spec)
    if named is None:
        return Input("preprocessing", _spec(recorded, ["height", "width"]), None)
    found = _complete(input_spec(named, spec.height, spec.width))
    shown = [key for key in recorded if recorded[key] != found[key]] or ["height", "width"]
    return Input("preprocessing", _spec(recorded, shown), _spec(found, shown))


def _complete(spec: InputSpec) -> dict[str, Any]:
    """A specification with the key that a card leaves out where it says nothing new."""
    return {**spec.to_json(), "decode": spec.decode}


def _labels(path: Path | None) -> str | None:
    if path is None:
        return None
    return hashlib.sha256("".join(f"{label}\n" for label in read_labels(path)).encode()).hexdigest()


def _calibration(build: dict[str, Any], given: Sources) -> str | None:
    folder = given.calibration or (calibration_data.CALIBRATION if given.is_demo else None)
    size = build["calibration_size"] or convergence.MOST
    return None if folder is None else provenance.manifest(find_images(folder).sample(size))


def _validation(build: dict[str, Any], given: Sources) -> str | None:
    folder = given.validation or (calibration_data.VALIDATION if given.is_demo else None)
    return None if folder is None else provenance.manifest(find_images(folder).sample(build["validation_size"]))


def _installed(package: str) -> str:
    for distribution in DISTRIBUTIONS.get(package, (package,)):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def _spec(value: dict[str, Any], keys: list[str]) -> str:
    """Some of a specification, on a line."""
    return ", ".join(f"{key} {_triple(value[key])}" for key in keys)


def _triple(value: Any) -> str:
    return " ".join(map(str, dict.fromkeys(value))) if isinstance(value, list) else str(value)


def _short(sha256: str | None) -> str | None:
    return None if sha256 is None else sha256[:16]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
