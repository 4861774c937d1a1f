"""Pages of a mapped model are given back, and its content stays."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import _mmap
from edge_runtime._mmap import release_pages

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="this system has no /proc")
SIZE = 8 * 2**20


def resident_bytes(path: Path) -> int:
    """How much of the mappings of a file is in memory, as the kernel counts it."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.endswith(str(path))]
    sizes = [next(line for line in lines[i:] if line.startswith("Rss:")) for i in starts]
    return sum(1024 * int(size.split()[1]) for size in sizes)


@pytest.fixture
def content() -> bytes:
    return np.random.default_rng(0).bytes(SIZE)


@pytest.fixture(params=["model.tflite", "a model with spaces.tflite"])
def path(request: pytest.FixtureRequest, content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    path.write_bytes(content)
    return path


def test_pages_go_and_the_content_stays(path: Path, content: bytes) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == content
        assert resident_bytes(path) == SIZE
        release_pages(path)
        assert resident_bytes(path) == 0
        assert mapped[:] == content


def test_what_somebody_wrote_into_a_private_copy_stays(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[:4] = b"mine"
        release_pages(path)
        assert mapped[:4] == b"mine"


def test_a_file_that_is_not_mapped(path: Path) -> None:
    release_pages(path)


def test_a_system_without_proc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mmap, "MAPS", path.parent / "missing")
    release_pages(path)
