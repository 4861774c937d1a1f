"""Tell the formats of weights files apart by their first and last bytes, whatever they are called."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from convert.errors import SourceError
from edge_runtime.nearby import did_you_mean

HDF5, CHECKPOINT, SAFETENSORS = "HDF5", "TensorFlow checkpoint", "safetensors"
HDF5_START = b"\x89HDF\r\n\x1a\n"
TABLE_END = bytes.fromhex("57fb808b247547db")
"""The end of a table of LevelDB: the one file of TensorFlow's first checkpoints, the `.index` of those since."""
PICKLE_START = b"\x80"
TAR_PLACE, TAR_MARK, GZIP_START = 257, b"ustar", b"\x1f\x8b"


def checkpoint_index(path: Path) -> Path:
    """Return the file to open for a checkpoint that is given by its prefix or by its data, and `path` for the rest."""
    prefix = path.name.partition(".data-")[0]
    index = path.with_name(f"{prefix}.index")
    return index if (".data-" in path.name or not path.exists()) and index.is_file() else path


def checkpoint_data(index: Path) -> list[Path]:
    """Return the other files of a checkpoint, in order; none for one that is a single file."""
    if index.suffix != ".index":
        return []
    return sorted(path for path in index.parent.iterdir() if path.name.startswith(f"{index.stem}.data-"))


def weights_format(path: Path) -> str:
    """Return the format of a weights file.

    Raises:
        SourceError: it cannot be read, or is of another format; the message says what to do with it.
    """
    if not path.exists():
        raise SourceError(
            f"weights {path} does not exist{did_you_mean(path)}: pass the path of an .h5, .ckpt, .index or "
            ".safetensors file"
        )
    if path.is_dir():
        raise SourceError(f"--weights {path} is a folder: pass a file in it, or the whole model as --model {path}")
    try:
        with path.open("rb") as file:
            start = file.read(512)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(TABLE_END)))
            end = file.read()
    except OSError as error:
        raise SourceError(
            f"--weights {path} cannot be read ({error.strerror or error}): check its permissions"
        ) from error
    for name, is_format in FORMATS.items():
        if is_format(start, end, size):
            return name
    raise SourceError(_refusal(path, start))


def _is_hdf5(start: bytes, end: bytes, size: int) -> bool:
    return start.startswith(HDF5_START)


def _is_table(start: bytes, end: bytes, size: int) -> bool:
    return end == TABLE_END


def _is_safetensors(start: bytes, end: bytes, size: int) -> bool:
    """Return whether it begins with the length of a header and the header, which is JSON."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


FORMATS: dict[str, Callable[[bytes, bytes, int], bool]] = {
    HDF5: _is_hdf5,
    CHECKPOINT: _is_table,
    SAFETENSORS: _is_safetensors,
}
"""Formats, and what tells from its first bytes, its last ones and its size whether a file has it."""


def _refusal(path: Path, start: bytes) -> str:
    """Word why a file of no known format is refused."""
    if _is_pickle(path, start):
        return (
            f"{path} is a pickle of PyTorch, which runs code when it is opened: save its weights without code, with "
            "safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')"
        )
    if zipfile.is_zipfile(path):
        return f"{path} is not weights alone: pass a whole Keras model as --model {path}"
    if start[TAR_PLACE:].startswith(TAR_MARK) or start.startswith(GZIP_START):
        return f"{path} is an archive: unpack it, and pass the .ckpt or .index file in it"
    if ".data-" in path.name or path.suffix == ".meta":
        return f"{path} is a part of a checkpoint: pass its .index file, with the .data files beside it"
    if path.name == "checkpoint" and b"model_checkpoint_path" in start:
        return f"{path} only names a checkpoint: pass the .index file beside it"
    return (
        f"{path} is not a weights file: pass HDF5 of Keras (.h5), a TensorFlow checkpoint (.ckpt or .index) or "
        "safetensors"
    )


def _is_pickle(path: Path, start: bytes) -> bool:
    if not zipfile.is_zipfile(path):
        return start.startswith(PICKLE_START)
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False
