"""Float `.tflite` -> the same network without NEG, of which no runtime has an int8 kernel: multiplications by -1.

Layer normalization brings them: as float islands they would make a transformer's int8 a patchwork.
"""

from __future__ import annotations

import numpy as np

from convert.tflite.rewriting import GraphEditor


def without_negations(float_model: bytes) -> bytes:
    """Return a float network whose negations are products with a constant; itself where it has none."""
    graph = GraphEditor(float_model)
    negations = graph.named("NEG")
    if not negations:
        return float_model
    minus_one = graph.add_constant("minus_one", np.array([-1], np.float32))
    for operator in reversed(negations):  # what is inserted moves the positions of those behind it
        source, output = operator.inputs[0], operator.outputs[0]
        name = graph.tensor_name(output)
        graph.rename(output, f"{name}/negated")
        product = graph.add_operator("MUL", [source, minus_one], graph.shape(output), name, operator.position)
        graph.replace(output, product)
    graph.drop_unused()
    return graph.to_bytes()
