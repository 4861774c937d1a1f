"""OpenVINO and NNCF with the setting that did best of four on EfficientNet-Lite0, and whatever is in float in float32.

Presets performance and mixed were tried, each with fast and with full bias correction.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf_default

if __name__ == "__main__":
    nncf_default.main(Path(sys.argv[1]), {"INFERENCE_PRECISION_HINT": "f32"}, fast_bias_correction=False)
