"""Tell what a file or folder is by its content: people rename files, and TF 2.12 writes HDF5 as .keras."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convert.errors import SourceError
from convert.keras_models.weight_formats import HDF5_START, TABLE_END

MODEL, WEIGHTS, SAVED_MODEL, TFLITE = "model", "weights", "SavedModel", "TFLite"
HEAD_BYTES = 4096


@dataclass(frozen=True)
class Content:
    """What there is to tell a file or folder by.

    Attributes:
        path: of the file or folder.
        head, tail: the first and last bytes of the file; empty for a folder.
        members: names in a zip archive, or in the folder.
    """

    path: Path
    head: bytes
    tail: bytes
    members: tuple[str, ...]

    def starts(self, *beginnings: bytes) -> bool:
        """Return whether the file begins with one of these."""
        return self.head.startswith(beginnings)

    def has(self, *names: str) -> bool:
        """Return whether all of these are members, at the top."""
        return set(names) <= set(self.members)

    def ends(self, *suffixes: str) -> bool:
        """Return whether its name ends so, which is asked where the content says nothing."""
        return self.path.name.lower().endswith(suffixes)


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: how it is called in messages.
        holds: MODEL, WEIGHTS, SAVED_MODEL or TFLITE; "" for one that cannot be read.
        advice: what to do instead, for one that cannot be read.
    """

    name: str
    holds: str = ""
    advice: str = ""


def _is_checkpoint(content: Content) -> bool:
    path = content.path
    is_prefix = path.with_name(path.name + ".index").exists()
    is_part = ".data-" in path.name and path.with_name(path.name.partition(".data-")[0] + ".index").exists()
    is_folder = "checkpoint" in content.members and any(name.endswith(".index") for name in content.members)
    is_list = path.name == "checkpoint" and content.starts(b"model_checkpoint_path")
    return is_prefix or is_part or is_folder or is_list or content.tail.endswith(TABLE_END)


def _is_safetensors(content: Content) -> bool:
    length = int.from_bytes(content.head[:8], "little")
    return content.head[8:9] == b"{" and 2 <= length < 2**27


def _is_hdf5(content: Content) -> bool:
    return any(content.head[start:].startswith(HDF5_START) for start in (0, 512, 1024, 2048))


def _is_torch(content: Content) -> bool:
    return any(name == "data.pkl" or name.endswith("/data.pkl") for name in content.members)


def _is_onnx(content: Content) -> bool:
    names = (b"onnx", b"pytorch", b"tf2onnx", b"skl2onnx", b"keras2onnx")
    return content.starts(b"\x08") and (content.ends(".onnx") or any(name in content.head[:64] for name in names))


IN_KERAS = "save it where it was made with model.save('NAME.keras')"
AS_SAVED = "export a SavedModel or a float .tflite of it and pass that"
FROM_TORCH = "export it to a float .tflite with litert-torch and pass that, or pass timm's weights as .safetensors"
AGAIN = "copy or download it again"

FORMATS: tuple[tuple[Callable[[Content], bool], Format], ...] = (
    (lambda c: c.has("saved_model.pb") or c.has("saved_model.pbtxt"), Format("SavedModel", SAVED_MODEL)),
    (_is_checkpoint, Format("TensorFlow checkpoint", WEIGHTS)),
    (lambda c: c.path.is_dir() and c.has("config.json"), Format("unpacked .keras file", advice=IN_KERAS)),
    (lambda c: c.path.is_dir() and c.has("model.json"), Format("TensorFlow.js model", advice=IN_KERAS)),
    (lambda c: c.path.is_dir(), Format("folder", advice="a SavedModel has a saved_model.pb in it; pass that folder")),
    (lambda c: c.has("config.json") and c.starts(b"PK"), Format("zip", MODEL)),
    (lambda c: c.starts(b"PK") and not c.members, Format("zip archive that is damaged", advice=AGAIN)),
    (_is_torch, Format("PyTorch file", advice=FROM_TORCH)),
    (lambda c: any(n.endswith("saved_model.pb") for n in c.members), Format("zipped SavedModel", advice="unpack it")),
    (lambda c: any(n.endswith(".npy") for n in c.members), Format("NumPy archive", advice=IN_KERAS)),
    (lambda c: c.starts(b"PK\x03\x04", b"PK\x05\x06"), Format("zip archive, and not a Keras model", advice=IN_KERAS)),
    (lambda c: c.head[4:8] == b"TFL3", Format("TFLite", TFLITE)),
    (_is_safetensors, Format("safetensors", WEIGHTS)),
    (lambda c: not c.head, Format("empty file", advice=AGAIN)),
    (lambda c: c.starts(b"version https://git-lfs"), Format("Git LFS pointer", advice="run git lfs pull")),
    (lambda c: b"<html" in c.head[:512].lower(), Format("web page", advice=AGAIN)),
    (lambda c: c.starts(b"GGUF"), Format("GGUF file", advice=AS_SAVED)),
    (lambda c: c.starts(b"\x93NUMPY"), Format("NumPy array", advice=IN_KERAS)),
    (
        lambda c: c.starts(b"\x1f\x8b", b"BZh", b"\xfd7zXZ") or c.head[257:262] == b"ustar",
        Format("archive", advice="unpack it"),
    ),
    (
        lambda c: (
            c.starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and c.ends(".pt", ".pth", ".bin", ".ckpt")
        ),
        Format("PyTorch file", advice=FROM_TORCH),
    ),
    (
        lambda c: c.starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        Format("pickle, which is code and is not run", advice=IN_KERAS),
    ),
    (_is_onnx, Format("ONNX model", advice="convert it to a float .tflite with onnx2tf and pass that")),
    (lambda c: c.ends(".pb", ".pbtxt"), Format("frozen graph", advice="pass the folder of its SavedModel")),
    (lambda c: c.starts(b"{"), Format("JSON file without weights", advice=IN_KERAS)),
)
"""What is recognised by what, in this order; HDF5, which holds either a model or weights, comes before all."""

NOT_KNOWN = Format(
    "file in no format that irv2-convert reads", advice=f"{IN_KERAS}, or pass a SavedModel or a float .tflite"
)


def recognize(path: Path) -> Format:
    """Return the format of an existing file or folder, by its content.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror or error}): check its permissions") from error
    if _is_hdf5(content):
        return _hdf5(path)
    return next((found for is_one, found in FORMATS if is_one(content)), NOT_KNOWN)


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, as `.keras` files are since Keras 2.13."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def refuse(path: Path, found: Format) -> SourceError:
    """Return the error for a format that cannot be read: what it is, and what to do."""
    article = "an" if found.name[0] in "aeiouAEIOU" else "a"
    return SourceError(f"{path} is {article} {found.name}: {found.advice}")


def _content(path: Path) -> Content:
    if path.is_dir():
        return Content(path, b"", b"", tuple(sorted(each.name for each in path.iterdir())[:10_000]))
    if not path.exists():  # the common beginning of the names of a checkpoint's files
        return Content(path, b"-", b"", ())
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, path.stat().st_size - len(TABLE_END)))
        tail = file.read()
    return Content(path, head, tail, _members(path) if head.startswith(b"PK") else ())


def _members(path: Path) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return ()


def _hdf5(path: Path) -> Format:
    """Return which HDF5 it is: a whole model has its configuration in an attribute."""
    from convert.keras_models.hdf5 import open_hdf5

    with open_hdf5(path) as file:
        return Format("HDF5", MODEL if "model_config" in file.attrs else WEIGHTS)
