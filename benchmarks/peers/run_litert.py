"""The least that classifies a picture with LiteRT: MODEL PICTURE THREADS RUNS."""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from picture import answer, load


def main(model: str, picture: str, threads: int, runs: int) -> None:
    """Print what `picture.answer` does."""
    interpreter = Interpreter(model, num_threads=threads)
    interpreter.allocate_tensors()
    (input_tensor,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = load(picture, *input_tensor["shape"][1:3])
    if input_tensor["dtype"] != np.float32:
        scale, zero_point = input_tensor["quantization"]
        limits = np.iinfo(input_tensor["dtype"])
        image = np.clip(np.round(image / scale) + zero_point, limits.min, limits.max).astype(input_tensor["dtype"])

    def run() -> np.ndarray:
        interpreter.set_tensor(input_tensor["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(end["index"])

    answer(run, runs)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
