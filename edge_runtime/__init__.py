"""The runtime for devices: it needs numpy, Pillow and one interpreter, nothing else.

from edge_runtime import Classifier

with Classifier.open("irv2-demo.int8.tflite") as classifier:
    for prediction in classifier.predict("photo.jpg"):
        print(prediction.label, prediction.probability)
"""

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
