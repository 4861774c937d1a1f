"""Our runtime on every interpreter it may meet: tflite-runtime 2.14, and each LiteRT from 1.0 on, one a minor release.

The bounds are what was measured on x86-64, rounded up; a test shows that swapped channels or other scaling exceed them.
"""

from __future__ import annotations

import pytest

from tests.clients.environments import Client

pytestmark = [pytest.mark.slow, pytest.mark.clients]

LITERT = {"1.0.1": (3, 11), "1.1.2": (3, 12), "1.2.0": (3, 12), "1.3.0": (3, 12), "1.4.0": (3, 12), "2.0.3": (3, 12)}
"""Release -> the last Python it has wheels for."""
LITERT |= dict.fromkeys(("2.1.6", "2.2.0", "2.3.0"), (3, 13))
CLIENTS = [Client("tflite-runtime", "2.14.0", ("numpy<2", "pillow"), (3, 11))]
CLIENTS += [Client("ai-edge-litert", version, ("numpy", "pillow"), newest) for version, newest in LITERT.items()]
