"""The runtime for devices: it needs numpy, Pillow and one interpreter, nothing else.

from edge_runtime import Classifier

with Classifier.open("irv2-demo.int8.tflite") as classifier:
    for prediction in classifier.predict("photo.jpg"):
        print(prediction.label, prediction.probability)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_runtime.card import Card
    from edge_runtime.classifier import Classifier, Frame, Prediction
    from edge_runtime.engines import Receipt
    from edge_runtime.errors import ArtifactError, DelegateError, EdgeError, EngineError, ImageError
    from edge_runtime.specs import InputSpec

__all__ = [
    "ArtifactError",
    "Card",
    "Classifier",
    "DelegateError",
    "EdgeError",
    "EngineError",
    "Frame",
    "ImageError",
    "InputSpec",
    "Prediction",
    "Receipt",
]
_HOMES = {
    **dict.fromkeys(("Classifier", "Frame", "Prediction"), "classifier"),
    **dict.fromkeys(("ArtifactError", "DelegateError", "EdgeError", "EngineError", "ImageError"), "errors"),
    "Card": "card",
    "InputSpec": "specs",
    "Receipt": "engines",
}
"""Name of the API -> the module that defines it, imported when it is first asked for: `_start` comes before NumPy."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
