"""Readers of published weights, the split of photographs, their geometry, and the text of the table."""

from __future__ import annotations

import base64
import collections
import io
import json
import pickle
import struct
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image


class Named:
    """An object that a pickle refers to by module and name, without there being such a module here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """What a pickle calls on loading."""

    def __init__(self, named: Named, *arguments: object) -> None:
        self.named, self.arguments = named, arguments


class Storage:
    """What a tensor lies in."""

    def __init__(self, kind: Named, key: str, elements: int) -> None:
        self.identity = ("storage", kind, key, "cpu", elements, None)


class Writer(pickle._Pickler):  # the one of Python, which lets `save` be extended
    """Write pickles as PyTorch does, without PyTorch."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.identity if isinstance(obj, Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.named)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


FLOATS, LONGS = Named("torch", "FloatStorage"), Named("torch", "LongStorage")
REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def pth(tensors: dict[str, Call], storages: dict[str, bytes], magic: int = 0x1950A86A20F9469CFC6C) -> io.BytesIO:
    """A file of PyTorch before 1.6; a storage is its number of elements and its bytes."""
    file = io.BytesIO()
    for part in (magic, 1001, {"little_endian": True}, collections.OrderedDict(tensors), list(storages)):
        Writer(file, 2).dump(part)
    file.write(b"".join(storages.values()))
    file.seek(0)
    return file


def tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Call:
    return Call(REBUILD, storage, offset, shape, strides, False, collections.OrderedDict())


def stored(values: np.ndarray) -> bytes:
    return struct.pack("<q", values.size) + values.tobytes()


@pytest.fixture
def torch_file(benchmarks: Path) -> ModuleType:
    return import_module("torch_file")


def test_tensors_are_read_as_they_lie_in_their_storages(torch_file: ModuleType) -> None:
    values = np.arange(24, dtype="<f4")
    shared, count = Storage(FLOATS, "140", 24), Storage(LONGS, "141", 1)
    file = pth(
        {
            "kernel": tensor(shared, 0, (2, 3, 4), (12, 4, 1)),
            "transposed": tensor(shared, 4, (4, 2), (1, 4)),
            "seen": tensor(count, 0, (), ()),
        },
        {"140": stored(values), "141": stored(np.array([7], "<i8"))},
    )
    found = torch_file.read_tensors(file)
    np.testing.assert_array_equal(found["kernel"], values.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["transposed"], values[4:12].reshape(2, 4).T)
    assert found["seen"] == 7
    assert found["kernel"].dtype == np.float32


def test_code_in_a_pickle_is_refused_and_not_run(torch_file: ModuleType, tmp_path: Path) -> None:
    made = tmp_path / "made"
    file = pth({"kernel": Call(Named("os", "mkdir"), str(made))}, {})
    with pytest.raises(ValueError, match=r"os\.mkdir"):
        torch_file.read_tensors(file)
    assert not made.exists()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(1, (2, 3), (3, 1)), (0, (2, 3), (4, 1)), (-1, (1,), (1,)), (5, (2,), (-1,))]
)
def test_a_tensor_outside_of_its_storage_is_refused(
    torch_file: ModuleType, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    content = {"1": stored(np.zeros(6, "<f4"))}
    file = pth({"kernel": tensor(Storage(FLOATS, "1", 6), offset, shape, strides)}, content)
    with pytest.raises(ValueError, match="outside"):
        torch_file.read_tensors(file)


def test_other_and_broken_files_are_refused(torch_file: ModuleType) -> None:
    tensors = {"kernel": tensor(Storage(FLOATS, "1", 6), 0, (6,), (1,))}
    content = {"1": stored(np.zeros(6, "<f4"))}
    with pytest.raises(ValueError, match="magic"):
        torch_file.read_tensors(pth(tensors, content, magic=1))
    with pytest.raises(ValueError, match="cut short"):
        torch_file.read_tensors(io.BytesIO(pth(tensors, content).read()[:-1]))
    with pytest.raises(ValueError, match="follow"):
        torch_file.read_tensors(io.BytesIO(pth(tensors, content).read() + b"x"))


def test_sizes_of_efficientnet_lite_are_the_papers(benchmarks: Path) -> None:
    lite = import_module("efficientnet_lite")
    blocks = {n: [lite.scaled_blocks(i, v.depth) for i in range(7)] for n, v in lite.VARIANTS.items()}
    assert blocks[0] == [1, 2, 2, 3, 3, 4, 1]
    assert blocks[1] == [1, 3, 3, 4, 4, 5, 1]
    assert blocks[2] == [1, 3, 3, 4, 4, 5, 1]
    assert [lite.scaled_channels(c, 1.1) for c in (16, 24, 40, 80, 112, 192, 320)] == [16, 24, 48, 88, 120, 208, 352]


MODULE = (
    'var a={keras_version:"2.2.4",model_config:{class_name:"M",config:{n:[null,224,!0,!1],s:"x,y={z:1}"}}},'
    'b=[{paths:["g"],weights:[{name:"k",shape:[2,2],dtype:"float32",quantization:{min:-.5,scale:1e-1,dtype:"uint8"}},'
    '{name:"c",shape:[1],dtype:"float32"}]}],c={modelTopology:a,weightsManifest:b};'
    "export{c as default,a as modelTopology,b as weightsManifest};"
)


def test_a_network_of_tensorflow_js_is_read_without_running_it(benchmarks: Path) -> None:
    tfjs = import_module("tfjs_layers")
    configuration, manifest = tfjs.read_topology(MODULE)
    assert configuration == {"class_name": "M", "config": {"n": [None, 224, True, False], "s": "x,y={z:1}"}}
    content = bytes([0, 1, 10, 255]) + np.float32([2.5]).tobytes()
    shard = f'var n="{base64.b64encode(content).decode()}";export{{n as default}};'
    found = tfjs.read_weights(manifest, tfjs.read_shard(shard))
    np.testing.assert_allclose(found["k"], [[-0.5, -0.4], [0.5, 25.0]], rtol=1e-6)
    assert found["c"] == [2.5]
    with pytest.raises(ValueError, match="shards have 9"):
        tfjs.read_weights(manifest, content + b"x")


def test_a_split_depends_on_names_alone_and_has_no_photograph_twice(benchmarks: Path, tmp_path: Path) -> None:
    photographs = import_module("photographs")
    flat, folders = tmp_path / "here" / "flat", tmp_path / "folders"
    flat.mkdir(parents=True)
    for i in range(30):
        (flat / f"n{i:08}_thing.JPEG").touch()
        (folders / f"n{i % 3:08}").mkdir(parents=True, exist_ok=True)
        (folders / f"n{i % 3:08}" / f"{i}.jpg").touch()
    (flat / "README.md").touch()
    found = photographs.split(flat, most=15, calibration=10)
    assert len(found.calibration) == 10
    assert len(found.validation) == 15
    assert len({one.path for one in (*found.calibration, *found.validation)}) == 25
    assert found.labels == tuple(f"n{i:08}_thing" for i in range(30))
    moved = flat.rename(tmp_path / "moved")
    again = photographs.split(moved, most=15, calibration=10)
    assert [one.label for one in again.validation] == [one.label for one in found.validation]
    assert photographs.split(folders, 5, 10).labels == ("n00000000", "n00000001", "n00000002")
    with pytest.raises(ValueError, match="more than 30"):
        photographs.split(moved, 5, 30)


def test_the_middle_of_the_shorter_side_is_kept_or_everything(benchmarks: Path) -> None:
    photographs = import_module("photographs")
    ramp = np.zeros((64, 128, 3), np.uint8)
    ramp[..., 0] = np.arange(128)
    image = Image.fromarray(ramp)
    cropped = photographs.Geometry(32, "crop", 0.5, Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.asarray(photographs.squared(image, cropped))[0, :, 0], np.arange(48, 80))
    whole = photographs.Geometry(64, "stretch", 1.0, Image.Resampling.BILINEAR)
    red = np.asarray(photographs.squared(image, whole))[0, :, 0]
    assert red[0] <= 1
    assert red[-1] >= 126


def test_the_table_says_what_was_measured_and_what_was_not_tried(benchmarks: Path, tmp_path: Path) -> None:
    table = import_module("pretrained_table")
    row = table.Row("ours", 0.875, 0.9888, (0.979, 0.994), 730, 0.9986, 23.82, 9.07, 5.71)
    done = table.Network("lite0", "Lite0", 800, 1000, (row, table.Row("peer", error="it | broke")))
    absent = [table.Network(name, name, error="no network") for name in ("A", "B")]
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU\nflags\t: avx2\n")
    from dataclasses import asdict

    again = table.Network.from_json(json.loads(json.dumps(asdict(done))))
    text = "\n".join(table.section([again, *absent], "versions", cpuinfo))
    assert "| ours | 87.50% | 98.88% | [97.90%, 99.40%] | 99.86% of 730 | 23.8 dB | 9.07 | 5.7 |" in text
    assert "| peer | it / broke |" in text
    assert "no int8 dot products" in text
    assert text.endswith("Not tried, no network: A, B.")


def test_a_section_is_replaced_where_it_is(benchmarks: Path) -> None:
    table = import_module("pretrained_table")
    first = table.with_section("# Title\n\n## Before\n\nx\n", [table.HEADING, "", "### Old"])
    assert first == f"# Title\n\n## Before\n\nx\n\n{table.HEADING}\n\n### Old\n"
    second = table.with_section(first + "\n## After\n", [table.HEADING, "", "new"])
    assert second == f"# Title\n\n## Before\n\nx\n\n{table.HEADING}\n\nnew\n\n## After\n"


def test_what_could_not_be_had_is_tried_again(benchmarks: Path, tmp_path: Path) -> None:
    pretrained = import_module("pretrained")
    result = tmp_path / "x.json"
    assert not pretrained.has_rows(result)
    result.write_text('{"rows": []}')
    assert not pretrained.has_rows(result)


def test_refused_conversions_share_a_footnote(benchmarks: Path) -> None:
    every = import_module("every_scheme")
    cells = [
        every.Cell("int8", "default", "uint8", 9.07, 200, 0.985, 23.8),
        every.Cell("int8", "int8", error="because"),
        every.Cell("none", "int8", error="because"),
    ]
    lines = list(every.matrix(cells))
    assert lines[2] == "| int8 | 200 | (uint8) 9.07 MB, 98.5%, 23.8 dB |  | refused 1) |  |"
    assert lines[-1] == "1) because"
