"""The least that classifies a picture with OpenVINO: MODEL PICTURE THREADS RUNS [PRECISION].

Where the processor has bfloat16, a float network is computed in it unless PRECISION is f32.
"""

from __future__ import annotations

import sys

import numpy as np
import openvino

from picture import answer, load


def main(model: str, picture: str, threads: int, runs: int, *precision: str) -> None:
    """Print what `picture.answer` does."""
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision[0]
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    image = load(picture, *list(compiled.input(0).shape)[1:3])

    def run() -> np.ndarray:
        return compiled(image)[0]

    answer(run, runs)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
