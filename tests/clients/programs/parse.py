"""A generated reader of the schema: `python parse.py MODULE MODEL`; LiteRT has it under another name than tflite.

Prints {"operators": [[name, inputs, outputs]], "tensors": [[name, type, shape, scales]], "metadata": {name: bytes},
"inputs": [], "outputs": [], "signatures": [[key, inputs, outputs]]}.
"""

import importlib
import json
import sys
from pathlib import Path

schema, model = importlib.import_module(sys.argv[1]), Path(sys.argv[2]).read_bytes()
# a module a class in one package, one module for all in the other
root = getattr(schema.Model, "Model", schema.Model).GetRootAs(model, 0)


def names(enum):
    """Number -> name."""
    kind = getattr(schema, enum)
    return {number: name for name, number in vars(getattr(kind, enum, kind)).items() if not name.startswith("_")}


def numbers(table, field):
    """A vector of integers, which may be missing."""
    return [int(getattr(table, field)(i)) for i in range(getattr(table, f"{field}Length")())]


def tensor(t):
    quantization = t.Quantization()
    scales = 0 if quantization is None else quantization.ScaleLength()
    return [t.Name().decode(), TYPES[t.Type()].lower(), numbers(t, "Shape"), scales]


def operator(o):
    code = root.OperatorCodes(o.OpcodeIndex())
    name = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    return [name, numbers(o, "Inputs"), numbers(o, "Outputs")]


def arguments(signature, end):
    entries = [getattr(signature, end)(i) for i in range(getattr(signature, f"{end}Length")())]
    return {entry.Name().decode(): entry.TensorIndex() for entry in entries}


TYPES, OPERATORS = names("TensorType"), names("BuiltinOperator")
graph = root.Subgraphs(0)
entries = [root.Metadata(i) for i in range(root.MetadataLength())]
signatures = [root.SignatureDefs(i) for i in range(root.SignatureDefsLength())]
print(
    json.dumps(
        {
            "operators": [operator(graph.Operators(i)) for i in range(graph.OperatorsLength())],
            "tensors": [tensor(graph.Tensors(i)) for i in range(graph.TensorsLength())],
            "metadata": {entry.Name().decode(): root.Buffers(entry.Buffer()).DataLength() for entry in entries},
            "inputs": numbers(graph, "Inputs"),
            "outputs": numbers(graph, "Outputs"),
            "signatures": [
                [s.SignatureKey().decode(), arguments(s, "Inputs"), arguments(s, "Outputs")] for s in signatures
            ],
        }
    )
)
