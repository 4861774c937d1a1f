"""A notebook that measures drift: Jupyter shows bars while it runs, and the report as what its last cell returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import ROOT, Client
from tests.conftest import save_colour_pictures
from tests.edge_runtime.tiny_model import tiny_artifact

pytestmark = [pytest.mark.slow, pytest.mark.clients]

OURS = f"{ROOT}[drift]"
"""For what it depends on, and for its metadata; the code is the checkout's."""
WIDGETS = "application/vnd.jupyter.widget-view+json"
WITH_WIDGETS = Client("nbclient", "0.11.0", ("ipykernel", "ipywidgets", OURS))
WITHOUT = Client("nbclient", "0.10.2", ("ipykernel", OURS))


def run(client: Client, tmp_path: Path) -> list[list[dict[str, Any]]]:
    """The outputs of each cell."""
    network = tiny_artifact().write(tmp_path / "net.tflite")
    images = save_colour_pictures(tmp_path / "images", 20, seed=1)
    cells: list[list[dict[str, Any]]] = client.answer("notebook.py", network, images, PYTHONPATH=str(ROOT))
    return cells


@pytest.mark.parametrize("client", [WITH_WIDGETS, WITHOUT], ids=["with widgets", "without"])
def test_the_last_cell_shows_the_report(client: Client, tmp_path: Path) -> None:
    _, _, (shown,) = run(client, tmp_path)
    assert shown["data"] == ["text/html", "text/plain"]
    assert shown["html"].startswith("<iframe srcdoc=")
    assert "Key figures" in shown["html"]


def test_progress_is_a_bar(tmp_path: Path) -> None:
    _, outputs, _ = run(WITH_WIDGETS, tmp_path)
    assert WIDGETS in {kind for output in outputs for kind in output["data"]}
    assert "comparing" not in "".join(output["text"] for output in outputs)


def test_progress_is_a_line_without_the_widgets(tmp_path: Path) -> None:
    _, outputs, _ = run(WITHOUT, tmp_path)
    said = "".join(output["text"] + output["html"] for output in outputs)
    assert "comparing" in said
    assert "ipywidgets" not in said, "rich would warn"
