"""The bundled image set: where its folders are, in a checkout as in an installed wheel.

`CALIBRATION` and `VALIDATION` hold one folder of PNG images a class; `MANIFEST` lists every file with
its SHA-256. See README.md beside this file for where the images come from.
"""

from pathlib import Path

CALIBRATION = Path(__file__).parent / "calibration"
VALIDATION = Path(__file__).parent / "validation"
MANIFEST = Path(__file__).parent / "manifest.json"

__all__ = ["CALIBRATION", "MANIFEST", "VALIDATION"]
