"""Stored predictions of a float network, so that CI can compare with it without TensorFlow and without the network.

An `.npz` of two plain arrays, read with allow_pickle=False: `probabilities`, float32 (N, classes), and `header`, UTF-8
JSON as uint8. The header pins everything the predictions depend on: name and SHA-256 of each image, the preprocessing,
the labels, the SHA-256 of the model; and a checksum over itself and the probabilities.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.predictions import Predictions, Predictor, Rows
from convert.errors import SourceError
from convert.images.conventions import GEOMETRY_KEYS, every_key, fit_text
from convert.images.dataset import ImageSet
from convert.system.temporary import write_atomically
from edge_runtime import EdgeError, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.hashing import file_sha256
from edge_runtime.nearby import did_you_mean
from edge_runtime.specs import HEADS, SOFTMAX

FORMAT, FORMAT_VERSIONS = "irv2-edge reference", (1, 2, 3)
"""Version 2 is written if `decode` of the preprocessing is not "full", which readers of version 1 do not know.
Version 3 is written if `head` is not "softmax", which those of version 2 do not know; they lack the key."""
MOST_BYTES = 4 * 2**30
"""A file that claims to unpack to more is refused, not unpacked."""
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile, zlib.error)
"""What NumPy, `zipfile` and the header's reader raise on damaged or foreign files."""


@dataclass(frozen=True, kw_only=True)
class StoredPredictions(Predictor):
    """Predictions of a float network for a set of images; `path` is that of the `.npz`.

    `images` maps names relative to the folder to SHA-256s, in the order of `probabilities`, float32 (images, classes);
    `unreadable` has the names of the images that could not be read.
    """

    model_sha256: str
    images: dict[str, str]
    probabilities: Array
    unreadable: frozenset[str]

    def file_sha256(self) -> str:
        """Return the SHA-256 of the network's file."""
        return self.model_sha256

    def rows(self, images: ImageSet, skipped: list[str]) -> Rows:
        """Yield the stored predictions in the order of the set; call `check_images` first."""
        row_of = dict(zip(self.images, self.probabilities, strict=True))
        for index, name in enumerate(images.names):
            if name in row_of:
                yield index, row_of[name]

    def check_images(self, images: ImageSet, folder: ImageSet) -> None:
        """Raise `SourceError` if an image was not stored or has changed, or a stored one is missing from the folder.

        `images` are those to compare, and `folder` is the whole folder that they were taken from.
        """
        known = self.images.keys() | self.unreadable
        for name in sorted(known - set(folder.names)):
            raise SourceError(
                f"reference {self.path} does not fit {folder.root}: its image {name} is missing there; "
                "restore it, or save the reference again"
            )
        for name, path in zip(images.names, images.paths, strict=True):
            if name not in known:
                raise SourceError(
                    f"reference {self.path} does not fit {images.root}: {name} is not among its {len(known)} images; "
                    "pass the folder, and the --images-size, it was saved with, or save it again"
                )
            if name in self.images and file_sha256(path) != self.images[name]:
                raise SourceError(
                    f"reference {self.path} does not fit {images.root}: image {name} has changed since it was saved; "
                    "restore it, or save the reference again"
                )

    def check_preprocessing(self, expected: InputSpec, by: str) -> None:
        """Raise `SourceError` if images were prepared differently from `expected`, which is that of `by`."""
        ours, theirs = (every_key(spec) for spec in (self.spec, expected))
        different = [key for key in ours if ours[key] != theirs[key]]
        if different:
            key, fits = different[0], [fit_text(spec) for spec in (self.spec, expected)]
            was, has = (f"{key} {each[key]}" for each in (ours, theirs))
            if key in GEOMETRY_KEYS and None not in fits and fits[0] != fits[1]:
                was, has = (f"--fit {fit}" for fit in fits)
            raise SourceError(
                f"reference {self.path} was saved with {was}, {by} has {has}: convert the candidate as the reference "
                "was prepared, or save the reference again; if the two differ on purpose, pass the reference's as "
                "--reference-preprocessing"
            )

    def check_labels(self, labels: Sequence[str], by: str) -> None:
        """Raise `SourceError` if the classes are not `labels`, which are those of `by`."""
        if len(labels) != len(self.labels):
            raise SourceError(
                f"reference {self.path} has {len(self.labels)} classes, {by} has {len(labels)}: compare models of the "
                "same classes, or save the reference again"
            )
        if set(labels) != set(self.labels):
            other = min(set(labels) ^ set(self.labels))
            raise SourceError(
                f"reference {self.path} and {by} have different labels, only one of them has {other!r}: "
                "save it again, or pass the --labels it was saved with"
            )


def save(path: Path, predictions: Predictions, images: ImageSet, network: Predictor) -> StoredPredictions:
    """Write predictions of a float network to `path`, replacing an existing file, and return what was stored.

    `predictions` are those of `network` for the images of the set that could be read. A file that cannot be written is
    a `ConvertError`; nothing is left behind.
    """
    probabilities = np.ascontiguousarray(predictions.probabilities, np.float32)
    predicted = ImageSet(images.root, predictions.paths, None)
    header = {
        "format": FORMAT,
        "version": 3 if predictions.head != SOFTMAX else 1 if network.spec.decode == "full" else 2,
        "labels": predictions.labels,
        "preprocessing": network.spec.to_json(),
        "model_sha256": network.file_sha256(),
        "images": {name: file_sha256(image) for name, image in zip(predicted.names, predicted.paths, strict=True)},
        "unreadable": sorted(set(images.names) - set(predicted.names)),
        "step": predictions.step,
        "keras_sqnr_db": network.keras_sqnr_db,
        **({} if predictions.head == SOFTMAX else {"head": predictions.head}),
    }
    header["checksum"] = _checksum(header, probabilities)
    encoded = np.frombuffer(json.dumps(header).encode(), np.uint8)

    def fill(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, header=encoded, probabilities=probabilities)

    write_atomically(path, fill)
    return load(path)


def load(path: Path) -> StoredPredictions:
    """Read what `save` wrote; a `SourceError` if it is missing, damaged, of another version, or has Python objects."""
    if not path.is_file():
        raise SourceError(
            f"reference {path} does not exist or is not a file{did_you_mean(path)}: write it with --save-reference "
            f"{path}"
        )
    try:
        header, probabilities = _arrays(path)
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}")
        if header["version"] not in FORMAT_VERSIONS:
            known = ", ".join(map(str, FORMAT_VERSIONS))
            raise SourceError(
                f"reference {path} has format version {header['version']}, this version reads {known}: save it again"
            )
        checksum = header.pop("checksum")
        if checksum != _checksum(header, probabilities):
            raise ValueError("its checksum does not match")
        if probabilities.shape != (len(header["images"]), len(header["labels"])) or probabilities.dtype != np.float32:
            raise ValueError(f"{probabilities.dtype} {probabilities.shape} probabilities")
        if not np.isfinite(probabilities).all():
            raise ValueError("a probability is not finite")
        if not all(isinstance(text, str) for text in (*header["labels"], *header["images"].values())):
            raise ValueError("a label or a checksum is not text")
        if header.get("head", SOFTMAX) not in HEADS:
            raise ValueError(f"head {header['head']!r}")
        return StoredPredictions(
            path=path,
            labels=tuple(header["labels"]),
            spec=InputSpec.from_json(header["preprocessing"]),
            step=header["step"],
            keras_sqnr_db=header["keras_sqnr_db"],
            head=header.get("head", SOFTMAX),
            model_sha256=header["model_sha256"],
            images=header["images"],
            probabilities=probabilities,
            unreadable=frozenset(header["unreadable"]),
        )
    except SourceError:
        raise
    except (EdgeError, *DAMAGED) as error:
        raise SourceError(
            f"reference {path} is damaged or was not written by --save-reference ({error}): save it again"
        ) from error


def _arrays(path: Path) -> tuple[dict[str, Any], Array]:
    with zipfile.ZipFile(path) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
    if claimed > MOST_BYTES:
        raise ValueError(f"it claims {claimed:,} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(arrays["header"].tobytes()), np.asarray(arrays["probabilities"])


def _checksum(header: dict[str, Any], probabilities: Array) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(probabilities).tobytes())
    return digest.hexdigest()
