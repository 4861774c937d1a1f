"""What installs an extra, from what an installer wrote down of where it found irv2-edge (PEP 610)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convert.system import installation
from convert.system.installation import install_command, install_command_elsewhere, not_installed

CHECKOUT = {"url": "file:///home/anna/my%20work/irv2-edge", "dir_info": {}}
WHEEL = {"url": "file:///tmp/irv2_edge-0.1.0-py3-none-any.whl", "archive_info": {}}
GIT = {"url": "https://example.org/irv2-edge.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}


def installed(folder: Path, record: dict[str, Any] | None) -> None:
    """What an installer leaves of a distribution; without a record if it came from an index."""
    information = folder / "irv2_edge-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: irv2-edge\nVersion: 0.1.0\n")
    if record is not None:
        (information / "direct_url.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (CHECKOUT, "pip install '/home/anna/my work/irv2-edge[drift]'"),
        (CHECKOUT | {"dir_info": {"editable": True}}, "pip install -e '/home/anna/my work/irv2-edge[drift]'"),
        (WHEEL, "pip install '/tmp/irv2_edge-0.1.0-py3-none-any.whl[drift]'"),
        (GIT, "pip install 'irv2-edge[drift] @ git+https://example.org/irv2-edge.git@12ab'"),
        (WHEEL | {"url": "https://example.org/a.whl"}, "pip install 'irv2-edge[drift] @ https://example.org/a.whl'"),
        (None, "pip install 'irv2-edge[drift]'"),
    ],
    ids=["checkout", "editable", "wheel", "git", "wheel of a server", "index"],
)
def test_an_extra_comes_from_where_the_rest_came_from(
    record: dict[str, Any] | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, record)
    monkeypatch.syspath_prepend(tmp_path)
    assert install_command("drift") == command
    assert not_installed("click", "drift") == f"click is not installed: {command}"
    there = "irv2-edge" if record is None else "irv2_edge-0.1.0-py3-none-any.whl"
    assert install_command_elsewhere() == f"pip install {there}"


def test_tensorflow_that_is_there_is_kept_and_what_is_missing_comes_without_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installation, "version", {"tensorflow": "2.21.0"}.get)
    assert not_installed("safetensors", "convert").endswith("[convert]'")
    monkeypatch.setattr(installation, "version", {"tensorflow-cpu": "2.21.0"}.get)
    assert not_installed("safetensors", "convert").endswith("[convert-cpu]'"), "the other would overwrite it"
    monkeypatch.setattr(installation, "version", dict[str, str]().get)
    assert not_installed("tensorflow", "convert").endswith("[convert-cpu]'")
    assert not_installed("click", "drift").endswith("[drift]'")


def test_a_checkout_that_was_not_installed_is_installed_from_where_it_is() -> None:
    root = Path(__file__).parents[3]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from convert.system.installation import install_command; print(install_command('convert'))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pip install '.[convert]'\n"
