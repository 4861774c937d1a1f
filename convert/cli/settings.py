"""`irv2.toml`: what a project says once, for `irv2-convert`, `irv2-drift` and `irv2-inspect`.

A key is an option of `irv2-convert` without its dashes, or one of `SHARED`; the table `drift` holds options of
`irv2-drift` alone. Paths are relative to the file. This module finds and reads it; `convert.cli.configured` makes it
the defaults of a command.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edge_runtime.errors import EdgeError

NAME = "irv2.toml"
DRIFT = "drift"
"""The table of the options of `irv2-drift` alone."""
ARTIFACT, REFERENCE = "artifact", "reference"
SHARED = {
    ARTIFACT: "What irv2-drift judges and irv2-inspect audits, when they are given nothing else.",
    REFERENCE: "What irv2-drift compares it with: the model, or answers stored with --save-reference.",
}
"""Key that is no option of `irv2-convert` -> what it is for."""


class SettingsError(EdgeError):
    """The settings file cannot be read, or says something that no command knows."""


@dataclass(frozen=True)
class Settings:
    """What a settings file says: at its top, and in its table for `irv2-drift`."""

    path: Path
    said: Mapping[str, Any]
    of_drift: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read a settings file; a `SettingsError` says if it is missing, not TOML, or has another table."""
        try:
            said = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be read ({error.strerror or error}): pass another --config, or --no-config"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"{path} is not TOML: {error}; texts and paths stand in quotes") from error
        of_drift = said.pop(DRIFT, {})
        if not isinstance(of_drift, dict):
            raise SettingsError(f"{path}: {DRIFT} = {of_drift!r} is not a table: write [{DRIFT}] on a line of its own")
        for key, value in said.items():
            if isinstance(value, dict):
                raise SettingsError(f"{path}: there is no table [{key}], only [{DRIFT}]: write its keys at the top")
        return cls(path, said, of_drift)

    def beside(self, value: str) -> str:
        """Return a path in the file as the working folder sees it."""
        return str(self.path.parent / value)

    def artifact(self) -> Path | None:
        """Return the artifact, None where the file says none."""
        value = self.said.get(ARTIFACT)
        if value is not None and not isinstance(value, str):
            raise SettingsError(f"{self.path}: {ARTIFACT} = {value!r} is not a path: write it in quotes")
        return None if value is None else Path(self.beside(value))


def find() -> Path | None:
    """Return the nearest settings file, from the working folder upwards; None if there is none.

    The search ends with the folder that has a `.git`, which is the project, and with the home folder.
    """
    here, home = Path.cwd(), Path(os.path.expanduser("~"))
    for folder in (here, *here.parents):
        if (folder / NAME).is_file():
            return Path(os.path.relpath(folder / NAME, here))
        if folder == home or (folder / ".git").exists():
            break
    return None


def find_artifact() -> Path | None:
    """Return the artifact of the nearest settings file, None where there is none."""
    path = find()
    return None if path is None else Settings.read(path).artifact()


def refuse_unknown(key: str, known: Iterable[str], where: str) -> SettingsError:
    """Return the error for a key that no command knows, with the nearest one that is known."""
    nearest = get_close_matches(key.replace("_", "-"), list(known), n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else "irv2-convert init shows the usual ones, --help all of them"
    return SettingsError(f"{where}: {key} is not a setting: {advice}")
