"""--install: what a device lacks is installed there, in an environment of its own; one line says why it cannot be."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.devices.remote import judged, refused, started, until
from tests.devices.sshd import Server

pytestmark = [pytest.mark.slow, pytest.mark.device]


@pytest.fixture
def bare(server: Server) -> Path:
    """A Python without any package, which the server now has as its own."""
    folder = server.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    server.offer("python3", f'exec {folder}/bin/python "$@"')
    return folder / "bin" / "python"


def with_pip_setting(server: Server, bare: Path, setting: str) -> None:
    """Let pip there be configured by the environment."""
    server.offer("pip-python", f'{setting} exec {bare} "$@"')
    code = "import json, sys; v = json.load(sys.stdin); v['executable'] = sys.argv[1]; print(json.dumps(v))"
    server.offer("python3", f'{bare} "$@" | {bare} -c "{code}" {server.programs}/pip-python')


def environment_there(server: Server) -> Path:
    return server.home / ".cache" / "irv2-edge" / "python"


def test_it_is_installed_once_and_used_from_then_on(server: Server, bare: Path, network: Path, images: Path) -> None:
    first = judged(server, network, images, "--install")["device"]
    assert (first["answers_different"], first["receipt"]["engine"]) == (0, "litert")
    marker = environment_there(server) / "bin" / "python"
    before = marker.lstat().st_mtime_ns
    assert judged(server, network, images)["device"]["answers_different"] == 0
    assert judged(server, network, images, "--install")["device"]["answers_different"] == 0
    assert marker.lstat().st_mtime_ns == before


def test_no_network(server: Server, bare: Path, network: Path, images: Path) -> None:
    with_pip_setting(server, bare, "PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL=http://127.0.0.1:9/simple")
    line = refused(server, network, images, "--install")
    assert line.endswith("it cannot reach the package index: connect it to the network, or set a mirror in its pip "
                         "configuration")  # fmt: skip
    assert not environment_there(server).exists()
    assert list(environment_there(server).parent.iterdir()) == []


def test_a_certificate_that_it_does_not_trust(server: Server, bare: Path, network: Path, images: Path) -> None:
    """It trusts nobody but an authority that did not sign that of the index."""
    other = min(Path("/etc/ssl/certs").glob("*.pem"))
    with_pip_setting(server, bare, f"PIP_CONFIG_FILE=/dev/null PIP_CERT={other}")
    line = refused(server, network, images, "--install")
    assert line.endswith(": set its clock, or the certificates that it trusts")


def test_no_wheel_for_its_platform(server: Server, bare: Path, network: Path, images: Path, tmp_path: Path) -> None:
    with_pip_setting(server, bare, f"PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS={tmp_path}")
    line = refused(server, network, images, "--install")
    assert "there are no wheels for " in line
    assert line.endswith("see which platforms ai-edge-litert has on PyPI")


DEBIAN = "The virtual environment was not created successfully because ensurepip is not available."


def test_no_module_for_environments(server: Server, bare: Path, network: Path, images: Path) -> None:
    """As Debian's Python says it without its package python3-venv."""
    packages = next(bare.parents[1].glob("lib/python*/site-packages"))
    script = f"import sys\nif sys.argv[:1] == ['-m']: print('{DEBIAN}'); sys.exit(1)\n"
    (packages / "sitecustomize.py").write_text(script)
    assert refused(server, network, images, "--install").endswith(
        "its Python cannot make virtual environments: install python3-venv, or uv, there"
    )


def test_ctrl_c_leaves_nothing_running_and_nothing_half_made(
    server: Server, bare: Path, network: Path, images: Path
) -> None:
    server.offer("uv", f'{bare} -m venv --without-pip "$5"\nexec {bare} -c "import time; time.sleep(600)"')
    running = started(server, network, images, "--install")
    until(lambda: any("time.sleep(600)" in command for command in server.sessions()))
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    until(lambda: not server.sessions())
    assert list(environment_there(server).parent.iterdir()) == []


def test_uv_is_used_where_it_is_there(server: Server, bare: Path, network: Path, images: Path) -> None:
    """A stand-in for uv that notes how it is called, and does with venv and pip what it was asked for."""
    server.offer(
        "uv",
        f'echo "$1 $2" >>{server.folder}/calls\n'
        f'case "$1" in venv) exec {bare} -m venv "$5";; esac\n'
        'python="$6"; shift 6; exec "$python" -m pip install --quiet "$@"',
    )
    assert judged(server, network, images, "--install")["device"]["answers_different"] == 0
    assert (server.folder / "calls").read_text().splitlines() == ["venv --quiet", "pip install"]
