"""`irv2-convert init`: write `irv2.toml` from what is in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import click

from convert.cli.configured import conversion_settings
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.cli.settings import ARTIFACT, NAME, REFERENCE, SettingsError
from convert.errors import ConvertError
from convert.images.conventions import CONVENTIONS, GEOMETRIES
from convert.keras_models.formats import MODEL, SAVED_MODEL, TFLITE, WEIGHTS, recognize
from convert.keras_models.sources import ModelSource
from convert.quantization.schemes import DEFAULT
from convert.statistics.verdict import Limits
from convert.system.temporary import write_atomically
from edge_runtime.console import printable
from edge_runtime.preprocess import SUFFIXES

COLUMNS = 118
DEPTH = 3
"""How many folders deep is looked."""
NOT_LOOKED_INTO = {"build", "dist", "node_modules", "venv", "__pycache__", "site-packages"}
SUFFIXES_OF_NETWORKS = (".keras", ".h5", ".hdf5", ".tflite")
BETTER_FIRST = (MODEL, SAVED_MODEL, TFLITE, WEIGHTS)
"""What a file holds, the one that is converted first."""
LABEL_FILES = ("labels.txt", "labels.csv", "labels.json", "class_indices.json", "classes.txt", "class_names.txt")
CALIBRATION_NAMES = ("calibration", "calib", "representative", "train", "training")
VALIDATION_NAMES = ("validation", "valid", "val", "test", "testing", "eval")
"""Names of folders, those that say it best first."""
EXAMPLES = {
    "model": "mine.keras",
    "labels": "labels.txt",
    "calibration": "photos/calibration",
    "validation": "photos/validation",
    "preprocessing": "tf",
    "fit": "timm:0.875",
    ARTIFACT: "build/mine.int8.tflite",
    REFERENCE: "mine.keras",
}
"""Key -> what stands in the file, in a comment, where nothing was found."""
HEAD = """\
# What irv2-convert, irv2-drift and irv2-inspect do in this project where no option says otherwise. A key is any option
# of irv2-convert without its dashes; paths are relative to this file. irv2-convert --dry-run shows every value and
# where it is from.
"""
TAIL = """
# Options of irv2-drift alone; they win over those above.
[drift]
# junit = "drift.xml"
# html = "drift.html"

# Judge all images, as irv2-convert does. true: stop at the first one at which the verdict is certain; the intervals are
# wider for it, so that few images may be inconclusive.
stop-early = false
"""


@click.command(epilog=exit_codes(DONE))
@one_line_errors
def init() -> None:
    """Write irv2.toml for the network, labels and images in this folder, to be looked through and kept in git.

    An existing one is left as it is, unless it is one that found nothing and says nothing yet.
    """
    path = Path(NAME)
    if os.path.lexists(path) and not _says_nothing(path):
        raise SettingsError(f"{path} exists and is left as it is: edit it, or remove it first")
    found = look(Path())
    text = settings_text(found)
    write_atomically(path, lambda partial: partial.write_text(text, "utf-8"))
    for key, value in found.items():
        click.echo(f"{key:13}{printable(str(value))}")
    missing = [key for key in ("model", "labels", "calibration", "validation") if key not in found]
    if "weights" in found:
        missing.remove("model")
    if missing:
        click.echo(f"not found: {', '.join(missing)}; fill them in")
    click.echo("preprocessing: fill it in, unless the network scales its pixels itself or labelled images shall choose")
    click.echo(f"wrote {path}; next: irv2-convert --dry-run")


def _says_nothing(path: Path) -> bool:
    """Return whether a settings file is what this command writes where it finds nothing."""
    try:
        return path.read_text("utf-8") == settings_text({})
    except (OSError, UnicodeDecodeError):
        return False


def look(folder: Path) -> dict[str, str]:
    """Return what a folder has for a conversion: key -> path below it, with forward slashes, without what it lacks."""
    folders = list(_folders(folder))
    found: dict[str, str] = {}
    networks = sorted((BETTER_FIRST.index(holds), len(path.parts), path) for path, holds in _networks(folders))
    if networks:
        rank, _, path = networks[0]
        found["weights" if BETTER_FIRST[rank] == WEIGHTS else "model"] = path.as_posix()
    labels = next((each / name for name in LABEL_FILES for each in folders if (each / name).is_file()), None)
    if labels is not None:
        found["labels"] = labels.as_posix()
    for key, names in (("calibration", CALIBRATION_NAMES), ("validation", VALIDATION_NAMES)):
        named = (each for name in names for each in folders if each.name.lower() == name and _has_images(each))
        if (images := next(named, None)) is not None:
            found[key] = images.as_posix()
    return found


def settings_text(found: Mapping[str, str]) -> str:
    """Return a settings file, in which keys that were not found are comments."""
    network, limits = found.get("model") or found.get("weights"), Limits()
    name = None if network is None else ModelSource(network).name
    artifact = None if name is None else f"build/{name}.{DEFAULT.name}.tflite"
    settings: list[tuple[str, Any]] = [
        ("weights" if "weights" in found else "model", network),
        ("labels", found.get("labels")),
        ("preprocessing", None),
        ("fit", None),
        ("calibration", found.get("calibration")),
        ("validation", found.get("validation")),
        ("quantize", DEFAULT.name),
        ("output-dir", "build"),
        ("max-drop", limits.max_drop_pp),
        ("max-top5-drop", limits.max_top5_drop_pp),
        ("min-agreement", 100 * limits.min_agreement),
        (ARTIFACT, artifact),
        (REFERENCE, found.get("model")),
    ]
    return "".join([HEAD, *(_entry(key, value) for key, value in settings), TAIL])


def _entry(key: str, value: Any) -> str:
    """Return the lines of a key: what it is for, as the help of its option says, and its value."""
    option = conversion_settings()[key]
    about = str(getattr(option, "help", ""))
    if key == "preprocessing":
        about += f" One of {', '.join(CONVENTIONS)}, or a JSON file."
    if key == "fit":
        about = about.replace("one of these", f"one of {', '.join(GEOMETRIES)}")
    comment = fill(about, COLUMNS, initial_indent="# ", subsequent_indent="# ")
    shown = json.dumps(EXAMPLES[key] if value is None else value, ensure_ascii=False)
    return f"\n{comment}\n{'# ' if value is None else ''}{key} = {shown}\n"


def _folders(root: Path) -> Iterator[Path]:
    """Yield a folder and those below it, the nearest first, without hidden ones and those of tools."""
    level: Sequence[Path] = [root]
    for _ in range(DEPTH + 1):
        yield from level
        below = (entry for folder in level for entry in _entries(folder) if entry.is_dir(follow_symlinks=True))
        level = sorted(Path(entry.path) for entry in below if entry.name not in NOT_LOOKED_INTO)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and _is_text(entry.name)]
    except OSError:  # not ours to read
        return []


def _networks(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield networks that can be converted, and what each file holds."""
    for folder in folders:
        files = [Path(entry.path) for entry in _entries(folder) if entry.is_file()]
        candidates = [file for file in files if file.suffix.lower() in SUFFIXES_OF_NETWORKS]
        if any(file.name.startswith("saved_model.pb") for file in files):
            candidates.append(folder)
        for path in candidates:
            try:
                holds = recognize(path).holds
            except ConvertError:
                continue
            if holds in BETTER_FIRST:
                yield path, holds


def _has_images(folder: Path) -> bool:
    """Return whether a folder has images, in it or in its class folders."""
    inside = [folder, *(Path(entry.path) for entry in _entries(folder) if entry.is_dir())]
    return any(entry.name.lower().endswith(SUFFIXES) for each in inside for entry in _entries(each))


def _is_text(name: str) -> bool:
    """Return whether a name is UTF-8, which TOML is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
