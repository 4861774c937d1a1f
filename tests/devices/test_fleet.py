"""Several devices side by side: what each says, which is the odd one, and what one that fails means for the others."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.devices.remote import answering, judging, offer_agent, report_of, until
from tests.devices.sshd import Server

pytestmark = [pytest.mark.slow, pytest.mark.device]


@pytest.fixture
def pair(serve: Callable[[str], Server]) -> list[Server]:
    return [serve("first"), serve("second")]


@pytest.fixture
def unreachable(pair: list[Server]) -> Server:
    """The second of the pair, which lets nobody in."""
    (pair[1].folder / "user.pub").write_text("")
    return pair[1]


WIDE = ("--max-drop", 20, "--min-agreement", 80)
"""Limits that 60 images are enough for."""
REFUSED = "it refuses the login: give it your key with `ssh-copy-id`, no password is asked for here"


def test_each_device_has_a_row(
    pair: list[Server], network: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    running = judging(
        pair, network, images, *WIDE, "--junit", tmp_path / "drift.xml", "--html", tmp_path / "drift.html"
    )
    out, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("ssh://")}
    assert list(rows) == [server.address for server in pair]
    for row in rows.values():
        assert row[:5] == ["pass", "100.00%", "0", "of", "60"]
    assert re.search(r"^slowest: ssh://tester@127\.0\.0\.1:\d+, p50 \d+\.\d ms$", out, re.MULTILINE)
    suites = ElementTree.parse(tmp_path / "drift.xml").getroot()
    assert [suite.get("name") for suite in suites] == [f"irv2-drift {server.address}" for server in pair]
    assert "every answer is the same to the last bit" in (tmp_path / "drift.xml").read_text()
    summary = (tmp_path / "summary.md").read_text().replace("\\", "")
    assert all(re.search(rf"^\| {server.address} \| pass \| 100.00% \|", summary, re.MULTILINE) for server in pair)
    page = (tmp_path / "drift.html").read_text()
    hosts = [server.address.removeprefix("ssh://tester@") for server in pair]
    assert all(f'<th scope="row">ssh://tester@<wbr><span class="host">{host}</span>' in page for host in hosts)


def test_one_that_cannot_be_reached_does_not_spoil_the_other(
    pair: list[Server], unreachable: Server, network: Path, images: Path, tmp_path: Path
) -> None:
    running = judging(pair, network, images, *WIDE, "--json", "--junit", tmp_path / "drift.xml")
    out, err = running.communicate(timeout=200)
    assert running.returncode == 1
    good, bad = json.loads(out)["fleet"]["devices"]
    assert (good["gate"]["verdict"], good["error"], good["device"]["answers_different"]) == ("pass", None, 0)
    assert bad == {"address": unreachable.address, "error": f"{unreachable.address}: {REFUSED}"}
    assert f"not judged: {unreachable.address}: {REFUSED}" in err.splitlines()
    suites = ElementTree.parse(tmp_path / "drift.xml").getroot()
    assert [(suite.get("errors"), suite.get("failures")) for suite in suites] == [("0", "0"), ("1", "0")]


def test_one_that_fails_on_the_way_is_given_up_alone(
    pair: list[Server], network: Path, images: Path, base: Path
) -> None:
    answering(pair[1], base, "if len(seen) == 7: value['probabilities'][0] = float('nan')")
    running = judging(pair, network, images, *WIDE)
    out, _ = running.communicate(timeout=200)
    assert running.returncode == 1
    assert re.search(rf"^error {pair[1].address} answers .* with NaN or infinity", out, re.MULTILINE)
    assert re.search(rf"^{pair[0].address} +pass", out, re.MULTILINE)


def test_a_device_that_fails_its_judgement_counts_before_one_that_is_not_there(
    pair: list[Server], unreachable: Server, network: Path, images: Path, base: Path
) -> None:
    answering(pair[0], base, "value['probabilities'].reverse()")
    running = judging(pair, network, images)
    out, err = running.communicate(timeout=200)
    assert running.returncode == 3, err
    assert re.search(rf"^{pair[0].address} +fail", out, re.MULTILINE)
    assert re.search(rf"^{pair[0].address}: fail: top-1 agreement", out, re.MULTILINE)
    assert f"error {unreachable.address}: {REFUSED}" in out.splitlines()


def test_none_is_left(pair: list[Server], unreachable: Server, network: Path, images: Path) -> None:
    (pair[0].programs / "python3").unlink()
    running = judging(pair, network, images)
    out, err = running.communicate(timeout=200)
    assert (running.returncode, out) == (1, "")
    assert err.splitlines()[-3:] == [
        f"not judged: {pair[0].address} has no Python: install python3, 3.11 or later, there",
        f"not judged: {unreachable.address}: {REFUSED}",
        "irv2-drift: error: none of the 2 devices answers: each has said why",
    ]


def test_one_that_answers_a_picture_wrongly_is_named(
    pair: list[Server], network: Path, images: Path, base: Path
) -> None:
    answering(pair[1], base, "if len(seen) == 7: value['probabilities'].reverse()")
    fleet = report_of(judging(pair, network, images, "--json"))["fleet"]
    (said,) = [remark for remark in fleet["remarks"] if "differently" in remark]
    name, picture = said.split(" answers 1 image differently from the others, first ")
    assert name == pair[1].address
    assert picture == fleet["devices"][1]["device"]["largest_in"]


def test_one_that_is_five_times_slower_is_named(pair: list[Server], network: Path, images: Path, base: Path) -> None:
    """Its clock goes five times as fast."""
    folder = pair[1].folder / "slow"
    folder.mkdir()
    clock = "import time; real = time.perf_counter; time.perf_counter = lambda: 5 * real()"
    (folder / "sitecustomize.py").write_text(clock)
    offer_agent(pair[1], base, f'PYTHONPATH={folder} exec {base} "$@"')
    remarks = report_of(judging(pair, network, images, "--json"))["fleet"]["remarks"]
    (slow,) = [remark for remark in remarks if "times as long" in remark]
    assert slow.startswith(f"{pair[1].address} takes ")
    assert 3 <= float(slow.split()[2]) < 10
    assert any(remark.startswith(f"slowest: {pair[1].address}, p50 ") for remark in remarks)


def test_ctrl_c_leaves_nothing_running_on_any(pair: list[Server], network: Path, images: Path, base: Path) -> None:
    for server in pair:
        answering(server, base, "time.sleep(0.5)")
    running = judging(pair, network, images)
    until(lambda: all(any("/files/" in each for each in server.sessions()) for server in pair))
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, err.splitlines()[-1]) == (130, "irv2-drift: interrupted")
    until(lambda: not any(server.sessions() for server in pair))


def test_a_device_is_named_once(pair: list[Server], network: Path, images: Path) -> None:
    running = judging([pair[0], pair[0]], network, images)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert err.splitlines()[-1].endswith(f"--device {pair[0].address} is given twice: name each device once")
