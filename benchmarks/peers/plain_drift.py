"""A loop as one writes it to compare two artifacts of one input size: FLOAT INT8 FOLDER COUNT -> agreement."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from picture import load


def main(reference: str, candidate: str, folder: str, count: int) -> None:
    """Print how many pictures there were, and to how many both give the same answer."""
    models = [Interpreter(model, num_threads=os.cpu_count()) for model in (reference, candidate)]
    for model in models:
        model.allocate_tensors()
    paths = list(itertools.islice(sorted(Path(folder).rglob("*.png")), count))
    agreed = sum(first == second for first, second in ([best(model, path) for model in models] for path in paths))
    print(json.dumps({"images": len(paths), "agreed": agreed}))


def best(model: Interpreter, path: Path) -> int:
    """The class that a model answers with."""
    (input_tensor,), (end,) = model.get_input_details(), model.get_output_details()
    image = load(str(path), *input_tensor["shape"][1:3])
    if input_tensor["dtype"] == np.uint8:
        image = np.round((image + 1) * 127.5).astype(np.uint8)
    model.set_tensor(input_tensor["index"], image)
    model.invoke()
    return int(np.argmax(model.get_tensor(end["index"])))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
