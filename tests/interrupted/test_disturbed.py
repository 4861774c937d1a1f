"""Full and read-only disks, two runs at once, no network, no home, names that are no text, links in circles."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from convert.cli.convert import convert
from convert.errors import ImageSetError
from convert.images.dataset import Snapshot, find_images
from tests.conftest import save_colour_pictures
from tests.convert.drift.commands import gate
from tests.edge_runtime.tiny_model import tiny_artifact
from tests.interrupted.harness import LONGEST, Command, Run, check_whole, finish, hidden, start

NOT_TEXT = os.fsdecode(b"caf\xe9")


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def complaint(run: Run) -> str:
    """The one line of a command that failed."""
    assert run.code == 1, run.err
    assert "Traceback" not in run.err, run.err
    lines = [line for line in run.err.splitlines() if "error: " in line]
    assert lines == run.err.splitlines()[-1:], run.err
    return lines[0]


def folder_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("pages", [0, 2, 3])
def test_a_full_disk(conversion: Command, converted: Run, tmp_path: Path, pages: int) -> None:
    """Beside the earlier results is too little room for a log, for the network, or for the next file."""
    with disk(tmp_path / "disk", "size=400k") as small:
        shutil.copytree(converted.folder, small, dirs_exist_ok=True)
        (small / "ballast").write_bytes(bytes(os.statvfs(small).f_bfree * 4096 - pages * 4096))
        run = finish(conversion.plus("--output-dir", small), small)
        assert "No space left" in complaint(run)
        assert hidden(small) == []
        check_whole(small)
        assert (small / "tiny.int8.tflite").read_bytes() == (converted.folder / "tiny.int8.tflite").read_bytes()


def test_a_disk_that_may_not_be_written(conversion: Command, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "ro") as frozen:
        line = complaint(finish(conversion.plus("--output-dir", frozen / "out"), frozen))
        assert f"--output-dir {frozen / 'out'} cannot be written to: Read-only file system" in line


@pytest.mark.slow
def test_two_runs_into_one_folder(conversion: Command, converted: Run, tmp_path: Path) -> None:
    runs = [start(conversion.plus("--output-dir", tmp_path), uuid.uuid4().hex) for _ in range(2)]
    for run in runs:
        _, err = run.communicate(timeout=LONGEST)
        assert run.returncode == 0, err
    check_whole(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in converted.folder.iterdir()}
    assert (tmp_path / "tiny.int8.tflite").read_bytes() == (converted.folder / "tiny.int8.tflite").read_bytes()


@pytest.mark.slow
def test_strange_names_no_network_and_no_home(tiny_sources: Path, tmp_path: Path) -> None:
    """All at once."""
    place = tmp_path / f"a b\n{NOT_TEXT}"
    sources = shutil.copytree(tiny_sources, place)
    for folder in ("calibration", "validation"):
        for path in sources.joinpath(folder).glob("*/00*.png"):
            path.rename(path.with_name(f"{NOT_TEXT} {path.name}"))
    (sources / "tiny.keras").rename(sources / f"{NOT_TEXT}.keras")
    unshare = ["unshare", "-n"]
    alone = subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0
    script = Path(sys.executable).with_name("irv2-convert")
    arguments = [
        "--model", sources / f"{NOT_TEXT}.keras", "--preprocessing", "tf", "--labels", sources / "labels.txt",
        "--calibration", sources / "calibration", "--validation", sources / "validation",
        "--min-agreement", "50", "--max-drop", "50", "--json", "--output-dir", place / "out",
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    command = [*(unshare if alone else []), script, *map(os.fsencode, arguments)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=LONGEST, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    (report,) = json.loads(done.stdout.decode("utf-8"))
    assert "caf\\udce9" in report["artifact"]["path"]
    assert {path.name.encode() for path in (place / "out").iterdir()} == {
        b"caf_.int8.tflite", b"caf_.int8.tflite.report.json", b"caf_.int8.tflite.report.html"
    }  # fmt: skip
    text = (place / "out" / "caf_.int8.tflite.report.json").read_text("utf-8")
    assert "\\udce9" in text
    json.loads(text)["artifact"]["path"].encode("utf-8")


def test_the_gate_shows_names_that_are_no_text(tmp_path: Path) -> None:
    folder = save_colour_pictures(tmp_path / "images", 4, seed=1)
    (folder / "red" / "000.png").rename(folder / "red" / f"{NOT_TEXT}.png")
    model = tiny_artifact().write(tmp_path / f"{NOT_TEXT}.tflite")
    done = gate(model, "--reference", model, "--images", folder, "--json", "--no-stop-early")
    assert done.exit_code == 4, done.output
    json.loads(done.stdout_bytes.decode("utf-8"))["artifact"]["path"].encode("utf-8")


def test_links_in_circles_are_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    folder = save_colour_pictures(tmp_path / "images", 20, seed=1)
    (folder / "red" / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "red" / "self.png").symlink_to(folder / "red" / "self.png")
    (folder / "red" / "nowhere.png").symlink_to(tmp_path / "nowhere")
    assert len(find_images(folder)) == 62
    model = tiny_artifact().write(tmp_path / "tiny.tflite")
    done = gate(model, "--reference", model, "--images", folder, "--no-stop-early")
    assert done.exit_code in (0, 4), done.output
    assert "2 of 62 images" in done.stderr


def test_thousands_of_pictures_are_sampled_at_once(tiny_sources: Path, tmp_path: Path) -> None:
    """What is not chosen is not read: they are listed, and those as large as another set's are compared."""
    folder = tmp_path / "many"
    for name in ("blue", "green", "red"):
        (folder / name).mkdir(parents=True)
    picture = next((tiny_sources / "validation" / "red").glob("*.png")).read_bytes()
    for i in range(5001):
        (folder / ("blue", "green", "red")[i % 3] / f"{i:04}.png").write_bytes(picture + i.to_bytes(2, "big") * (i % 7))
    started = time.monotonic()
    done = CliRunner().invoke(
        convert,
        [
            *("--dry-run", "--model", str(tiny_sources / "tiny.keras"), "--preprocessing", "tf"),
            *("--calibration", str(tiny_sources / "calibration"), "--validation", str(folder)),
        ],
    )
    assert done.exit_code == 0, done.output
    assert f"1000 images of {folder}" in done.output
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("change", ["removed", "replaced", "rewritten"])
def test_a_picture_that_changes_meanwhile_is_named(change: str, tmp_path: Path) -> None:
    images = find_images(save_colour_pictures(tmp_path / "images", 2, seed=1))
    before = Snapshot(images, None)
    before.refuse_changes()
    path = images.paths[3]
    if change == "removed":
        path.unlink()
    elif change == "replaced":
        Image.new("RGB", (3, 3)).save(tmp_path / "new.png")
        (tmp_path / "new.png").replace(path)
    else:
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ImageSetError, match=f"image {path} was changed or removed during the run: run it again"):
        before.refuse_changes()
