"""Which labels are true of which image, from a CSV file, in the forms that people have.

    image,cat,dog                image,labels                 Image Index,Finding Labels,Patient Age
    a.jpg,1,0                    a.jpg,cat                    a.png,Effusion|Mass,58
    b.jpg,1,1                    b.jpg,cat;dog                b.png,No Finding,61

Commas, semicolons or tabs part the columns. Columns that are neither a file's name nor a label are left alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from convert.errors import ImageSetError
from edge_runtime.arrays import Array

FILE_COLUMNS = ("image", "image_index", "image_name", "image_path", "image_id", "file", "file_name", "filename", "path")
"""What the column of the files may be called, as `comparable` writes it; or else it is the first."""
LABEL_COLUMNS = ("labels", "label", "finding_labels", "findings", "classes", "class", "tags")
"""What the column of the labels may be called; or else it is the second of two."""
NO_LABEL = ("", "no_finding", "none", "normal")
"""What stands for the empty set of labels, where no label has that name."""
THERE = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}
MOST_SHOWN = 10
IMAGE_LABELS_HELP = "CSV file of the images' labels: a column of 0 and 1 for each, or one as in cat|dog."


@dataclass(frozen=True)
class ImageLabels:
    """The header and the rows of a CSV file."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def of(self, names: Sequence[str], labels: Sequence[str]) -> Array:
        """Return which of a network's `labels` each image has, bool (images, labels).

        Args:
            names: the images' paths below their folder. A row is theirs if it has the same path, or else the same name
                without folders, or else the same without a suffix as well.
            labels: a column or an entry is theirs if it is equal, or else equal after `comparable`.

        Raises:
            ImageSetError: an image has no row, or a row has something else in place of labels.
        """
        columns = self._label_columns(labels)
        rows = self._rows_of(names)
        if columns is not None:
            return np.array([[self._is_there(row, column) for column in columns] for row in rows], bool)
        listed = self._column_of_labels(labels)
        found = np.zeros((len(names), len(labels)), bool)
        for index, (name, row) in enumerate(zip(names, rows, strict=True)):
            found[index, self._listed(name, row[listed], labels)] = True
        return found

    def _label_columns(self, labels: Sequence[str]) -> list[int] | None:
        """Return the column of each label; None if one has none."""
        others = ["" if i == self._file_column else name for i, name in enumerate(self.header)]
        columns = [_match(label, others) for label in labels]
        return None if None in columns else [column for column in columns if column is not None]

    def _column_of_labels(self, labels: Sequence[str]) -> int:
        names = [comparable(name) for name in self.header]
        named = [names.index(name) for name in LABEL_COLUMNS if name in names]
        if named:
            return named[0]
        if len(names) == 2:
            return 1 - self._file_column
        missing = next(label for label in labels if _match(label, self.header) is None)
        raise ImageSetError(
            f"--image-labels {self.path} has no column for label {missing!r}: give each label a column of 0 and 1, or "
            "all of them one column called labels"
        )

    @property
    def _file_column(self) -> int:
        names = [comparable(name) for name in self.header]
        return next((names.index(name) for name in FILE_COLUMNS if name in names), 0)

    def _rows_of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the row of each image."""
        by_key: list[dict[str, list[tuple[str, ...]]]] = [{} for _ in KEYS]
        for row in self.rows:
            for found, key in zip(by_key, KEYS, strict=True):
                found.setdefault(key(row[self._file_column]), []).append(row)
        matching = [self._row(name, by_key) for name in names]
        missing = [name for name, row in zip(names, matching, strict=True) if row is None]
        if missing:
            more = f" and {len(missing) - 1} more of {len(names)} images" if len(missing) > 1 else ""
            raise ImageSetError(
                f"--image-labels {self.path} has no line for {missing[0]}{more}: add it, or take the image away"
            )
        return [row for row in matching if row is not None]

    def _row(self, name: str, by_key: Sequence[dict[str, list[tuple[str, ...]]]]) -> tuple[str, ...] | None:
        for found, key in zip(by_key, KEYS, strict=True):
            rows = list(dict.fromkeys(found.get(key(name), ())))
            if len(rows) > 1:
                raise ImageSetError(
                    f"--image-labels {self.path} has {len(rows)} different lines for {name}: leave one, or write the "
                    "paths of the images below their folder"
                )
            if rows:
                return rows[0]
        return None

    def _is_there(self, row: tuple[str, ...], column: int) -> bool:
        value = row[column].strip().lower()
        if value not in THERE:
            raise ImageSetError(
                f"--image-labels {self.path} has {row[column]!r} for {self.header[column]!r} of "
                f"{row[self._file_column]}: write 1 or 0"
            )
        return THERE[value]

    def _listed(self, name: str, text: str, labels: Sequence[str]) -> list[int]:
        """Return the indices of the labels in a list such as "cat|dog"."""
        whole = _match(text, labels)
        entries = [text] if whole is not None else [entry.strip() for entry in re.split(r"[|;]", text)]
        found = []
        for entry in entries:
            index = _match(entry, labels)
            if index is None and comparable(entry) not in NO_LABEL:
                shown = ", ".join(labels[:MOST_SHOWN]) + (", ..." if len(labels) > MOST_SHOWN else "")
                raise ImageSetError(
                    f"--image-labels {self.path} gives {name} the label {entry!r}, which is none of {shown}: write it "
                    "as the network's labels have it, or pass --labels FILE"
                )
            found += [] if index is None else [index]
        return found


def read_image_labels(path: Path) -> ImageLabels:
    """Read a CSV file with a header; an `ImageSetError` if it is none."""
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        header = lines[0] if lines else ""
        delimiter = next((each for each in "\t,;" if each in header), ",")
        rows = [tuple(row) for row in csv.reader(lines, delimiter=delimiter, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageSetError(
            f"--image-labels {path} cannot be read as CSV in UTF-8: {error}; save it as that"
        ) from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ImageSetError(
            f"--image-labels {path} is no table of images and labels: begin with a line such as image,labels"
        )
    uneven = next((row for row in rows if len(row) != len(rows[0])), None)
    if uneven is not None:
        raise ImageSetError(
            f"--image-labels {path} has a line of {len(uneven)} columns, {','.join(uneven)[:80]!r}, its header has "
            f"{len(rows[0])}: give each line as many"
        )
    return ImageLabels(path, tuple(name.strip() for name in rows[0]), tuple(rows[1:]))


def comparable(name: str) -> str:
    """Return a name in lower case, with every run of characters other than letters and digits as one underscore."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _match(name: str, among: Sequence[str]) -> int | None:
    """Return the position of a name, or of the only one that is alike."""
    name = name.strip()
    if name in among:
        return among.index(name)
    alike = [i for i, other in enumerate(among) if comparable(other) == comparable(name)]
    return alike[0] if len(alike) == 1 else None


def _whole(name: str) -> str:
    return str(PurePosixPath(name.strip().replace("\\", "/")))


KEYS: tuple[Callable[[str], str], ...] = (
    _whole,
    lambda name: PurePosixPath(_whole(name)).name,
    lambda name: PurePosixPath(_whole(name)).stem,
)
"""How the name of a file is compared, the most exact first."""
