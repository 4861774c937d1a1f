"""OpenVINO and NNCF from a Keras file on: exported as a SavedModel, read by OpenVINO, quantized."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import openvino

import nncf_default


def main(folder: Path) -> None:
    """network.keras, calibration.npy -> float.xml and candidate.xml."""
    network = keras.models.load_model(folder / "network.keras", compile=False)
    network.export(folder / "saved_model", verbose=False)
    model = openvino.convert_model(folder / "saved_model", input=[1, *network.input_shape[1:]])
    openvino.save_model(model, folder / "float.xml", compress_to_fp16=False)
    openvino.save_model(nncf_default.quantize(model, folder), folder / "candidate.xml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
