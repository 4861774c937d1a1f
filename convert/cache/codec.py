"""Results of stages as plain files: JSON for what is small, flatbuffers as they are, arrays as `.npy`. No pickles."""

from __future__ import annotations

import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from convert.audit.islands import FloatIsland
from convert.drift.predictions import Predictions
from convert.images.preprocessing_choice import ChosenPreprocessing
from convert.lowering.lower import LoweredModel
from convert.quantization.bias_range import RaisedScales
from convert.quantization.calibrate import Calibration
from convert.quantization.evaluation import Evaluator
from convert.quantization.layer_comparison import LayerError
from convert.quantization.quantize import QuantizedModel
from convert.quantization.statistics import ActivationStatistics
from convert.quantized import QuantizedNetwork
from convert.tflite.speed import Speed
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(ActivationStatistics, Calibration, Evaluator, FloatIsland, InputSpec, LayerError, LoweredModel, Predictions),
        *(ChosenPreprocessing, QuantizedModel, QuantizedNetwork, RaisedScales, Speed),
    )
}
"""The dataclasses that a result is made of, beside the types of Python and NumPy."""
TREE = "result.json"
ROOT = "\0root\0"
"""Stands for the folder that a stage reads or writes: the same files may lie elsewhere the next time."""


def pack(value: Any, root: Path) -> dict[str, bytes]:
    """Return a value as files (name -> content); `root` is left out of them.

    Raises:
        TypeError: it contains a type that cannot be restored in every bit.
    """
    packer = _Packer(root)
    files = {TREE: json.dumps(packer.tree(value, "result")).encode(), **packer.flatbuffers}
    for dtype, arrays in packer.arrays.items():
        file = io.BytesIO()
        np.save(file, np.concatenate(arrays), allow_pickle=False)
        files[f"{dtype}.npy"] = file.getvalue()
    return files


def unpack(files: Mapping[str, bytes], root: Path) -> Any:
    """Return the value that `pack` was given, equal in every bit but for its root."""
    arrays = {
        Path(name).stem: np.load(io.BytesIO(content), allow_pickle=False)
        for name, content in files.items()
        if name.endswith(".npy")
    }

    def restore(tagged: dict[str, Any]) -> Any:  # noqa: PLR0911 - one for each tag
        ((tag, content),) = tagged.items()
        match tag:
            case "dict":
                return dict(content)
            case "tuple":
                return tuple(content)
            case "text":
                return content.replace(ROOT, str(root))
            case "path":
                return root / content
            case "bytes":
                return files[content]
            case "array":
                dtype, start, shape = content
                return arrays[dtype][start : start + math.prod(shape)].reshape(shape)
            case _:
                return KINDS[tag](**content)

    return json.loads(files[TREE], object_hook=restore)


@dataclass
class _Packer:
    root: Path
    flatbuffers: dict[str, bytes] = field(default_factory=dict)
    arrays: dict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))
    sizes: Counter[str] = field(default_factory=Counter)

    def tree(self, value: Any, name: str) -> Any:  # noqa: PLR0911 - one for each type
        """Return the JSON of a value, in which every object is a tag and its content; `name` is that of its field."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self._text(value)
            case list():
                return [self.tree(each, name) for each in value]
            case dict():
                return {"dict": [[key, self.tree(each, key)] for key, each in value.items()]}
            case tuple():
                return {"tuple": [self.tree(each, name) for each in value]}
            case Path():
                return {"path": value.relative_to(self.root).as_posix()}
            case bytes():
                assert f"{name}.tflite" not in self.flatbuffers
                self.flatbuffers[f"{name}.tflite"] = value
                return {"bytes": f"{name}.tflite"}
            case np.ndarray():
                return {"array": self._array(value)}
            case _ if type(value) in KINDS.values():
                content = {each.name: getattr(value, each.name) for each in fields(value)}
                return {type(value).__name__: self.tree(content, name)}
        raise TypeError(f"{name} is a {type(value).__name__}, which the cache cannot keep")

    def _text(self, value: str) -> Any:
        """Return a text, tagged if it names the root. A relative root could be any word: it stays."""
        names_root = self.root.is_absolute() and self.root.name and str(self.root) in value
        return {"text": value.replace(str(self.root), ROOT)} if names_root else value

    def _array(self, value: Array) -> list[Any]:
        """Return dtype, position and shape in one file for all arrays: hundreds of small ones would be slow to read."""
        dtype = value.dtype.name
        start = self.sizes[dtype]
        self.arrays[dtype].append(value.ravel())
        self.sizes[dtype] += value.size
        return [dtype, start, list(value.shape)]
