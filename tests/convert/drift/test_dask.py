"""A real scheduler with two worker processes, one of which is killed while it works."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from convert.drift import shards as cluster_module
from convert.drift.run import DriftRequest, run
from convert.drift.shards import run_on_cluster
from convert.errors import ConvertError, MissingExtraError
from convert.statistics.verdict import Limits
from convert.system.installation import install_command
from convert.system.progress import Silent
from tests.conftest import save_colour_pictures
from tests.convert.drift.commands import gate, report_of
from tests.edge_runtime.tiny_model import tiny_artifact

T = TypeVar("T")
distributed = pytest.importorskip("distributed")


@dataclass
class Watching(Silent):
    """A progress that kills a worker at the first answer."""

    workers: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        for item in items:
            yield item
            self.seen.append(total)
            while self.workers:
                os.kill(self.workers.pop(), signal.SIGKILL)


@pytest.fixture(scope="module")
def request_for_images(tmp_path_factory: pytest.TempPathFactory) -> DriftRequest:
    folder = tmp_path_factory.mktemp("cluster")
    network = tiny_artifact().write(folder / "float.tflite")
    return DriftRequest(network, network, save_colour_pictures(folder / "images", 40, seed=3))


@pytest.fixture
def local() -> Any:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as started:
        yield started


def test_a_killed_worker_loses_nothing_and_nothing_counts_twice(
    local: Any, request_for_images: DriftRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "SHARDS_A_WORKER", 20)
    pids = [worker.pid for worker in local.workers.values()]
    watching = Watching([pids[0]])
    limits = Limits()
    found = run_on_cluster(local.scheduler_address, request_for_images, limits, watching)
    alone = run(request_for_images, limits, False, Watching())
    assert not watching.workers, "a worker was killed"
    assert len(watching.seen) == len(request_for_images.image_set()), "each image once"
    assert found.report == alone.report
    ours, theirs = found.assessment.comparison, alone.assessment.comparison
    assert ours.reference.probabilities.tobytes() == theirs.reference.probabilities.tobytes()
    assert ours.candidate.probabilities.tobytes() == theirs.candidate.probabilities.tobytes()


def test_the_command_takes_a_scheduler(local: Any, request_for_images: DriftRequest) -> None:
    arguments = (request_for_images.candidate, "--reference", request_for_images.reference)
    arguments += ("--images", request_for_images.images, "--json")
    mapped = report_of(gate(*arguments, "--scheduler", local.scheduler_address))
    assert mapped == report_of(gate(*arguments, "--no-stop-early"))


def test_what_a_worker_refuses_is_said_here(local: Any, request_for_images: DriftRequest, tmp_path: Path) -> None:
    from dataclasses import replace

    bare = tmp_path / "bare.tflite"
    bare.write_text("no model")
    with pytest.raises(Exception, match=r"bare\.tflite") as caught:
        run_on_cluster(local.scheduler_address, replace(request_for_images, candidate=bare), Limits(), Watching())
    assert type(caught.value).__module__.startswith(("convert", "edge_runtime"))


def test_a_scheduler_that_is_not_there_is_named(
    request_for_images: DriftRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECTION_TIMEOUT_S", 1)
    with pytest.raises(ConvertError, match=r"--scheduler tcp://127\.0\.0\.1:1 cannot be reached"):
        run_on_cluster("tcp://127.0.0.1:1", request_for_images, Limits(), Watching())


def test_without_dask_the_extra_is_named(request_for_images: DriftRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("cluster"))):
        run_on_cluster("tcp://x", request_for_images, Limits(), Watching())
