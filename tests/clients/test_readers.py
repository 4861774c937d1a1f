"""Programs that read what is in our files without running them: two readers of the schema, two kinds of the zip."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from convert.tflite.graph import TfliteGraph
from edge_runtime.artifact import open_artifact
from tests.clients.environments import KEPT, Client
from tests.clients.findings import FOUND, Finding
from tests.clients.test_runtimes import LITERT
from tests.devices.debian import skip_without_apt, unpack_alone

pytestmark = [pytest.mark.slow, pytest.mark.clients]

TFLITE = (Client("tflite", "2.18.0"), "tflite")
SCHEMA = "ai_edge_litert.schema_py_generated"
"""LiteRT has it since 1.1."""
SUPPORT = Client("tflite-support", "0.4.4", ("numpy<2",), (3, 11))
LIBUSB = ("libusb-1.0-0", "libudev1")
"""What SUPPORT links against and does not bring."""
ULTRALYTICS = [Client("ultralytics", release, dependencies=False) for release in ("8.0.200", "8.3.253", "8.4.190")]
"""One of each way in which their releases read a zip."""


def described(artifact: Path) -> dict[str, Any]:
    """What is in an artifact as our own code reads it, in the form of `programs/parse.py`."""
    graph = TfliteGraph(artifact.read_bytes()[: open_artifact(artifact).flatbuffer_bytes])
    return {
        "operators": [[o.name, list(o.inputs), list(o.outputs)] for o in graph.operators],
        "tensors": [
            [
                graph.tensor_name(i),
                graph.dtype(i),
                list(graph.shape(i)),
                0 if (s := graph.scales(i)) is None else len(s),
            ]
            for i in graph.tensors
        ],
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "signatures": [[key, *ends] for key, ends in graph.signatures().items()],
    }


@pytest.mark.parametrize("ends", ["uint8", "float"])
@pytest.mark.parametrize(
    ("client", "module"),
    [TFLITE, *((client, SCHEMA) for client in (LITERT[1], LITERT[-1]))],
    ids=lambda value: getattr(value, "name", value),
)
def test_readers_of_the_schema_find_the_same_graph(
    client: Client, module: str, ends: str, request: pytest.FixtureRequest
) -> None:
    artifact: Path = request.getfixturevalue(f"{ends}_artifact")
    found: dict[str, Any] = client.answer("parse.py", module, artifact)
    metadata = found.pop("metadata")
    did = f"parses {len(found['operators'])} operators, {len(found['tensors'])} tensors, {', '.join(metadata)}"
    FOUND.append(Finding(f"{client.name}, {module}", artifact.name, did))
    assert found == described(artifact)
    assert len(found["operators"]) > 300
    assert metadata["TFLITE_METADATA"] > 400


def test_tflite_support_finds_labels_and_normalization(uint8_artifact: Path) -> None:
    """The reader of Android's Task Library in its Python form, with libusb from Debian."""
    skip_without_apt()
    root = unpack_alone(LIBUSB, KEPT / "libusb")
    libraries = {os.fspath(file.parent) for file in root.rglob("*.so*")}
    found: dict[str, Any] = SUPPORT.answer(
        "support_metadata.py", uint8_artifact, LD_LIBRARY_PATH=":".join(sorted(libraries))
    )
    (graph,), artifact = found["metadata"]["subgraph_metadata"], open_artifact(uint8_artifact)
    (image,), (probabilities,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    spec = artifact.card.preprocessing
    assert image["content"]["content_properties"] == {
        "color_space": "RGB",
        "default_size": {"width": spec.width, "height": spec.height},
    }
    assert image["process_units"] == [
        {"options_type": "NormalizationOptions", "options": {"mean": [127.5], "std": [127.5]}}
    ]
    (labels,) = probabilities["associated_files"]
    assert (labels["name"], labels["type"]) == ("labels.txt", "TENSOR_AXIS_LABELS")
    assert found["files"]["labels.txt"].splitlines() == list(artifact.labels)
    assert json.loads(found["files"]["card.json"])["name"] == "irv2-demo"
    FOUND.append(Finding(SUPPORT.name, uint8_artifact.name, f"reads metadata, {', '.join(found['files'])}"))


@pytest.mark.parametrize("client", ULTRALYTICS, ids=lambda client: client.name)
def test_ultralytics_finds_the_labels_in_the_zip(client: Client, uint8_artifact: Path) -> None:
    found = client.answer("ultralytics_reader.py", uint8_artifact)
    FOUND.append(
        Finding(f"{client.name}, its reader of metadata", uint8_artifact.name, f"finds {', '.join(found['metadata'])}")
    )
    artifact = open_artifact(uint8_artifact)
    names = {int(index): name for index, name in found["metadata"]["names"].items()}
    assert names == dict(enumerate(artifact.labels))
    spec = artifact.card.preprocessing
    assert found["metadata"]["imgsz"] == [spec.height, spec.width]
