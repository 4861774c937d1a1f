"""A device of another architecture over SSH: the emulated Arm machine behind the OpenSSH server."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.devices.archive import runtime_archive
from convert.devices.device import prepare
from convert.devices.looking import look_at
from convert.devices.ssh import Address, Line
from edge_runtime.artifact import open_artifact
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import load_pixels
from tests.devices.arm import Machine, integer_part
from tests.devices.remote import judging, report_of
from tests.devices.sshd import Server, environment_for

pytestmark = [pytest.mark.slow, pytest.mark.device]
COUNT = int(os.environ.get("IRV2_ARM_IMAGES", "5"))
"""Pictures that the emulated machine answers, at five seconds each."""
INFER = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import numpy
from edge_runtime.artifact import open_artifact
from edge_runtime.engines import Engine, choose_engine
engine = Engine(sys.argv[2], choose_engine("litert"), 2)
for path in sys.argv[3:]:
    print('{"sha256": "%s"}' % hashlib.sha256(engine.run(numpy.load(path)).tobytes()).hexdigest(), flush=True)
"""
"""Prints the hash of what a model answers to each tensor."""


@pytest.fixture
def board(serve: Callable[[str], Server], arm: Machine) -> Server:
    """A server whose Python is that of the emulated machine."""
    server = serve("board")
    emulator, *options = map(str, arm.python)
    words = shlex.join([emulator, "-0", f"{server.programs}/python3", *options])
    server.offer("python3", f'PYTHONPATH={arm.packages} exec {words} "$@"')
    return server


def test_the_demo_is_judged_on_another_architecture(
    board: Server, serve: Callable[[str], Server], int8_artifact: Path
) -> None:
    """All pixels are equal, and the answers differ by the rounding of the float head."""
    pictures = Path(__file__).parents[2] / "calibration_data" / "validation"
    stored = Path(__file__).parents[2] / ".ci" / "irv2-demo.reference.npz"
    servers = [board, serve("plain")]
    options = ("--reference", stored, "--images-size", COUNT, "--json")
    report = report_of(judging(servers, int8_artifact, pictures, *options), 200 + 20 * COUNT)
    devices = [each["device"] for each in report["fleet"]["devices"]]
    print(json.dumps([[each["gate"], each["device"]] for each in report["fleet"]["devices"]]))  # with pytest -rP
    assert [device["images"] for device in devices] == [COUNT, COUNT]
    assert [device["machine"] for device in devices] == ["aarch64", platform.machine()]
    assert [device["pixels_different"] for device in devices] == [0, 0]
    assert 0 < devices[0]["largest_difference"] < 5e-5, "1e-5 was measured on 300"
    assert devices[1]["answers_different"] == 0
    assert all(device["receipt"]["active"] == "cpu" for device in devices)


def test_all_that_is_integer_is_bit_identical(
    board: Server, int8_artifact: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo up to its float head, on tensors that were copied there."""
    monkeypatch.setenv("PATH", environment_for([board])["PATH"])
    model = tmp_path / "trunk.tflite"
    model.write_bytes(integer_part(int8_artifact))
    spec = open_artifact(int8_artifact).card.preprocessing
    tensors = [tmp_path / f"{number}.npy" for number in range(len(pictures))]
    for path, picture in zip(tensors, pictures, strict=True):
        np.save(path, load_pixels(picture, spec)[None])
    line = Line(Address.parse(board.address))
    device = look_at(line)
    assert device.facts["machine"] == "aarch64"
    sha256, hashes = prepare(device, model, tensors)
    words = [
        device.facts["executable"],
        "-c",
        INFER,
        device.place(hashlib.sha256(runtime_archive()).hexdigest()),
        device.place(sha256),
    ]
    with line.run([*words, *map(device.place, hashes)]) as connection:
        there = [connection.receive()["sha256"] for _ in tensors]
    engine = Engine(model, choose_engine("litert"), 2)
    ours = [hashlib.sha256(engine.run(np.load(path)).tobytes()).hexdigest() for path in tensors]
    assert there == ours
    assert len(set(ours)) == len(pictures)
