"""irv2-drift --device against a real OpenSSH server, behind it a Python that has what the base install needs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert.devices.archive import runtime_archive
from edge_runtime.hashing import file_sha256
from tests.devices.remote import (
    COUNT,
    answering,
    files_there,
    judged,
    offer_agent,
    refused,
    report_of,
    started,
    until,
)
from tests.devices.sshd import Server

pytestmark = [pytest.mark.slow, pytest.mark.device]
ROOT = Path(__file__).parents[2]


def test_the_demo_is_judged_by_the_device_s_answers(server: Server, tmp_path: Path) -> None:
    """300 pictures, stored float answers."""
    artifact = ROOT / "build" / "irv2-demo.int8.tflite"
    if not artifact.exists():
        pytest.skip("make demo first")
    pictures, stored = ROOT / "calibration_data" / "validation", ROOT / ".ci" / "irv2-demo.reference.npz"
    junit, page = tmp_path / "drift.xml", tmp_path / "drift.html"
    options = ["--json", "--images-size", 300, "--reference", stored, "--junit", junit, "--html", page]
    report = report_of(started(server, artifact, pictures, *options))
    device = report["device"]
    assert device["images"] == report["drift"]["images"] == 300
    assert (device["answers_different"], device["pixels_different"], device["connections"]) == (0, 0, 1)
    assert device["receipt"]["active"] == "cpu"
    times = device["latency_ms"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    assert report["blame"][-1]["to"] == "candidate, device"
    assert "every answer is the same to the last bit" in junit.read_text()
    assert "every answer is the same to the last bit" in page.read_text()


def test_what_is_there_is_not_copied_again_and_what_is_damaged_is(server: Server, network: Path, images: Path) -> None:
    judged(server, network, images)
    model = files_there(server) / file_sha256(network)
    before = {path: path.stat().st_mtime_ns for path in files_there(server).iterdir()}
    model.write_bytes(b"\0" * 100)
    assert judged(server, network, images)["device"]["answers_different"] == 0
    after = {path: path.stat().st_mtime_ns for path in files_there(server).iterdir()}
    assert {path for path in before if after[path] != before[path]} == {model}
    assert len(before) == COUNT + 2


def test_a_file_damaged_on_the_way_is_sent_again(server: Server, network: Path, images: Path) -> None:
    files_there(server).mkdir(parents=True)
    part = files_there(server) / f"{file_sha256(network)}.part"
    part.write_bytes(b"\0" * 100)
    assert judged(server, network, images)["device"]["answers_different"] == 0
    assert not part.exists()


def test_a_copy_that_broke_off_goes_on_where_it_stopped(server: Server, network: Path, images: Path) -> None:
    files_there(server).mkdir(parents=True)
    part = files_there(server) / f"{file_sha256(network)}.part"
    part.write_bytes(network.read_bytes()[:500])
    inode = part.stat().st_ino
    judged(server, network, images)
    assert (files_there(server) / file_sha256(network)).stat().st_ino == inode


FIRST_LINES = "import sys; [sys.stdout.write(sys.stdin.readline()) for _ in range({})]"


@pytest.mark.parametrize("lines", [31, 1 + COUNT], ids=["in the middle", "after the last answer"])
def test_a_connection_that_is_cut_is_taken_up_and_no_image_counts_twice(
    server: Server, network: Path, images: Path, base: Path, lines: int
) -> None:
    cut = server.folder / "cut"
    offer_agent(
        server,
        base,
        f'case "$*" in */files/*) [ -e {cut} ] || {{ : >{cut}; {base} "$@" | {base} -uc "{FIRST_LINES.format(lines)}"; '
        f"kill -9 $PPID; exit 1; }};; esac\n"
        f'exec {base} "$@"',
    )
    device = judged(server, network, images)["device"]
    assert cut.exists()
    assert (device["connections"], device["images"], device["answers_different"]) == (2, COUNT, 0)


def test_a_connection_that_breaks_again_and_again_is_given_up(
    server: Server, network: Path, images: Path, base: Path
) -> None:
    broken = server.folder / "broken"
    offer_agent(
        server,
        base,
        f'case "$*" in */files/*) echo >>{broken}; kill -9 $PPID; exit 1;; esac\nexec {base} "$@"',
    )
    assert refused(server, network, images).endswith(": see to the device and its network, and run it again")
    assert len(broken.read_text().splitlines()) == 5


def test_one_wrong_answer_is_found_and_named(server: Server, network: Path, images: Path, base: Path) -> None:
    answering(server, base, "if len(seen) == 7: value['probabilities'].reverse()")
    device = judged(server, network, images)["device"]
    assert (device["answers_different"], device["pixels_different"]) == (1, 0)
    assert (images / device["largest_in"]).is_file()


def test_other_pixels_are_told_from_other_kernels(server: Server, network: Path, images: Path, base: Path) -> None:
    answering(server, base, "if len(seen) == 7: value['pixels_sha256'] = '0'")
    assert judged(server, network, images)["device"]["pixels_different"] == 1


def test_ctrl_c_leaves_nothing_running_there(server: Server, network: Path, images: Path, base: Path) -> None:
    answering(server, base, "time.sleep(0.5)")
    running = started(server, network, images)
    until(lambda: any("/files/" in command and "-c" not in command.split() for command in server.sessions()))
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, err.splitlines()[-1]) == (130, "irv2-drift: interrupted")
    until(lambda: not server.sessions())


def test_two_runs_at_once_do_not_disturb_each_other(server: Server, network: Path, images: Path) -> None:
    both = [started(server, network, images, "--json") for _ in range(2)]
    assert [report_of(each)["device"]["answers_different"] for each in both] == [0, 0]
    assert len(list(files_there(server).iterdir())) == COUNT + 2


def test_an_unknown_host_key(server: Server, network: Path, images: Path) -> None:
    (server.folder / "known").write_text("")
    assert "its host key is not known here" in refused(server, network, images)


def test_a_refused_login(server: Server, network: Path, images: Path) -> None:
    (server.folder / "user.pub").write_text("")
    assert "it refuses the login: give it your key with `ssh-copy-id`" in refused(server, network, images)


def test_no_python(server: Server, network: Path, images: Path) -> None:
    (server.programs / "python3").unlink()
    assert "has no Python: install python3, 3.11 or later" in refused(server, network, images)


def test_python_3_9(server: Server, network: Path, images: Path, base: Path) -> None:
    server.offer("python3", f'exec {base} -c "import sys; sys.version_info = (3, 9); exec(sys.stdin.read())"')
    assert "has Python 3.9, 3.11 or later is needed" in refused(server, network, images)


def test_no_interpreter(server: Server, network: Path, images: Path) -> None:
    bare = server.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    server.offer("python3", f'exec {bare}/bin/python "$@"')
    line = refused(server, network, images)
    assert "has no numpy and no pillow and no ai-edge-litert: add --install, or run there" in line
    assert line.endswith("-m pip install numpy pillow ai-edge-litert")


def test_a_device_that_can_store_no_more(server: Server, network: Path, images: Path, base: Path) -> None:
    offer_agent(server, base, f'ulimit -f 8; exec {base} "$@"')
    assert "File too large" in refused(server, network, images)


def test_an_address_that_is_none(server: Server, network: Path, images: Path) -> None:
    running = started(server, network, images, device="ssh://-oProxyCommand=true")
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "is no address: pass ssh://USER@HOST" in err.splitlines()[-1]


def test_stopping_early_is_refused_by_name(server: Server, network: Path, images: Path) -> None:
    running = started(server, network, images, "--stop-early")
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "--stop-early does not go with --device: a device answers all images" in err


FULL = "import os; os.statvfs = lambda _, real=os.statvfs('/'): os.statvfs_result((512, 512, 0, 0, 20000, *real[5:]))"


def test_space_is_checked_against_what_is_to_be_copied(server: Server, network: Path, images: Path, base: Path) -> None:
    """20,000 blocks of 512 bytes are 10.2 MB: more than what stays free, less than that and the files."""
    folder = server.folder / "full"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FULL)
    offer_agent(server, base, f'PYTHONPATH={folder} exec {base} "$@"')
    files = [network, *images.rglob("*.png")]
    line = refused(server, network, images)
    needed = 10_000_000 + len(runtime_archive()) + sum(path.stat().st_size for path in files)
    assert needed > 10_240_000
    assert f"has 10,240,000 bytes free of the {needed:,} that are needed: make space there" in line
    assert list(files_there(server).iterdir()) == []


def test_a_file_that_arrives_damaged_twice_is_given_up(server: Server, network: Path, images: Path, base: Path) -> None:
    folder = server.folder / "line"
    folder.mkdir()
    damage = "import os; read = os.read; os.read = lambda f, n: read(f, n) if n == 1 else bytes(len(read(f, n)))"
    (folder / "sitecustomize.py").write_text(damage)
    offer_agent(server, base, f'PYTHONPATH={folder} exec {base} "$@"')
    assert "arrived damaged twice: check the line" in refused(server, network, images)
    assert list(files_there(server).iterdir()) == []


def test_the_runtime_is_equal_wherever_it_is_made() -> None:
    assert runtime_archive() == runtime_archive()
    assert len(runtime_archive()) < 150_000
