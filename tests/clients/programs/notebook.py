"""Runs a notebook as JupyterLab does: `python notebook.py MODEL IMAGES`.

Prints, for each cell, the kinds of its outputs: {"data": [MIME types], "text": what is written, "html": the fragment}.
"""

import json
import sys

import nbformat
from nbclient import NotebookClient

CELLS = """
from convert import measure_drift, progress_bar
%%
with progress_bar() as progress:
    found = measure_drift({model!r}, {model!r}, {images!r}, progress=progress)
%%
found
"""

model, images = sys.argv[1:]
cells = CELLS.format(model=model, images=images).strip().split("\n%%\n")
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()


def described(output):
    data = output.get("data", {})
    return {"data": sorted(data), "text": output.get("text", ""), "html": data.get("text/html", "")}


print(json.dumps([[described(output) for output in cell["outputs"]] for cell in notebook.cells]))
