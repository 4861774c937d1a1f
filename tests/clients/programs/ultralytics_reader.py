"""How Ultralytics reads what is in a .tflite file: `python ultralytics_reader.py MODEL`.

Its own lines, cut out of the file they are in: importing that file takes a gigabyte of PyTorch, and those lines none.
Prints {"metadata": what they find}, or {"fails": the error they let through}.
"""

import ast
import contextlib
import importlib.util
import json
import sys
import zipfile
from pathlib import Path

model = sys.argv[1]
package = Path(importlib.util.find_spec("ultralytics").origin).parent
names = {"ast": ast, "contextlib": contextlib, "json": json, "zipfile": zipfile, "Path": Path, "w": model}
names["metadata"] = {}


def run(node):
    exec(compile(ast.Module([node], []), "ultralytics", "exec"), names)


def read_in_a_function():
    """Since 8.4."""
    tree = ast.parse((package / "nn" / "backends" / "base.py").read_text())
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "read_metadata")
    function.decorator_list, function.returns, function.args.args[0].annotation = [], None, None
    run(function)
    return names["read_metadata"](model)


def read_in_the_middle():
    """Before: a statement among hundreds that open models of all kinds."""
    tree = ast.parse((package / "nn" / "autobackend.py").read_text())
    statements = [n for n in ast.walk(tree) if isinstance(n, (ast.With, ast.Try))]
    run(next(n for n in statements if "zipfile.ZipFile(w" in ast.unparse(n)))
    return names["metadata"]


try:
    found = (read_in_a_function if (package / "nn" / "backends").exists() else read_in_the_middle)()
    print(json.dumps({"metadata": found}))
except Exception as error:
    print(json.dumps({"fails": f"{type(error).__name__}: {error}"}))
