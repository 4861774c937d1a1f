"""The array type that signatures use; shapes and dtypes stand in docstrings, where they can be read."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
