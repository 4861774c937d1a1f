"""Say what a device has, as one JSON line. The text of this file runs there, on any Python: nothing newer than 3.4."""

import importlib.util
import json
import os
import platform
import sys

home = os.path.join(os.path.expanduser("~"), ".cache", "irv2-edge")
packages = ("numpy", "PIL", "ai_edge_litert", "tflite_runtime")
found = {
    "python": list(sys.version_info[:2]),
    "executable": sys.executable,
    "machine": platform.machine(),
    "packages": [name for name in packages if importlib.util.find_spec(name) is not None],
    "home": home,
}
sys.stdout.write(json.dumps(found) + "\n")
