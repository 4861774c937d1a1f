"""Install what the runtime needs in an environment of its own. The text of this file runs on the device.

Its argument is the folder in which `python`, the environment, is made or made again. {"installed": PATH} or
{"error": TEXT} is printed. An environment that is not complete is not left there, nor does anything run on without a
host.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading

PACKAGES = ("numpy", "pillow", "ai-edge-litert")
HERE = f"{platform.machine()} and Python {sys.version_info[0]}.{sys.version_info[1]}"
REASONS = {
    ("ensurepip", "No module named venv"): (
        "its Python cannot make virtual environments: install python3-venv, or uv, there"
    ),
    ("invalid peer certificate", "CERTIFICATE_VERIFY_FAILED"): (
        "it does not trust the certificate of the package index: set its clock, or the certificates that it trusts"
    ),
    (
        *("NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ProxyError"),
        *("Connection refused", "dns error", "error sending request"),
    ): "it cannot reach the package index: connect it to the network, or set a mirror in its pip configuration",
    ("No matching distribution", "No solution found"): (
        f"there are no wheels for {HERE}: see which platforms ai-edge-litert has on PyPI"
    ),
}
"""What pip, uv and venv say -> what it means, and the next step."""


def run(*command: str) -> None:
    """Run a program; raise `RuntimeError` with all that it said if it fails."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout)


def make(folder: str) -> None:
    """Make the environment, with uv where it is there."""
    python, uv = os.path.join(folder, "bin", "python"), shutil.which("uv")
    if uv:
        run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        run(uv, "pip", "install", "--quiet", "--only-binary=:all:", "--python", python, *PACKAGES)
    else:
        run(sys.executable, "-m", "venv", folder)
        pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--retries=1", "--timeout=20")
        run(*pip, "--only-binary=:all:", *PACKAGES)


def reason(said: str) -> str:
    """Return what went wrong in one line."""
    known = [text for signs, text in REASONS.items() if any(sign in said for sign in signs)]
    lines = said.strip().splitlines() or ["nothing is said"]
    return known[0] if known else "installing fails there: " + lines[-1]


def install(home: str) -> dict[str, str]:
    """Return what there is to say."""
    last, fresh = os.path.join(home, "python"), os.path.join(home, f"python-{os.getpid()}")
    try:
        os.makedirs(home, exist_ok=True)
        make(fresh)
        shutil.rmtree(last, ignore_errors=True)
        os.rename(fresh, last)
        return {"installed": os.path.join(last, "bin", "python")}
    except RuntimeError as error:
        return {"error": reason(str(error))}
    except OSError as error:
        return {"error": f"installing fails there: {error.strerror or error}"}
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def end_with_host() -> None:
    """End what was started here as soon as there is no host: this program then cleans up."""
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)


signal.signal(signal.SIGTERM, lambda *_: None)
threading.Thread(target=end_with_host, daemon=True).start()
print(json.dumps(install(sys.argv[1])))
