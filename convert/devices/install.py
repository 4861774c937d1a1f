"""Install what the runtime needs in an environment of its own. The text of this file runs on the device.

Its argument is the folder in which `python`, the environment, is made or made again. {"installed": PATH} or
{"error": TEXT} is printed; an environment that is not complete is not left there.
"""

import json
import os
import platform
import shutil
import subprocess
import sys

PACKAGES = ("numpy", "pillow", "ai-edge-litert")
NO_NETWORK = ("NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ProxyError", "dns error",
              "Connection refused", "Failed to fetch", "error sending request")  # fmt: skip
NO_WHEEL = ("No matching distribution", "No solution found", "not a supported wheel")
NO_VENV = ("ensurepip", "No module named venv")


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
    """Return what went wrong, and the next step, in one line."""
    if any(sign in said for sign in NO_VENV):
        return "its Python cannot make virtual environments: install python3-venv, or uv, there"
    if any(sign in said for sign in NO_NETWORK):
        return "it cannot reach the package index: connect it to the network, or set a mirror in its pip configuration"
    if any(sign in said for sign in NO_WHEEL):
        here = "{} and Python {}.{}".format(platform.machine(), *sys.version_info[:2])
        return f"there are no wheels for {here}: see which platforms ai-edge-litert has on PyPI"
    lines = said.strip().splitlines() or ["pip fails without a word"]
    return "installing fails there: " + lines[-1]


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


print(json.dumps(install(sys.argv[1])))
