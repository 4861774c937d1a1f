"""The least that classifies a picture with ONNX Runtime: MODEL PICTURE THREADS RUNS."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

from picture import answer, load


def main(model: str, picture: str, threads: int, runs: int) -> None:
    """Print what `picture.answer` does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    input_tensor = session.get_inputs()[0]
    image = load(picture, *input_tensor.shape[1:3])

    def run() -> np.ndarray:
        return session.run(None, {input_tensor.name: image})[0]

    answer(run, runs)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
