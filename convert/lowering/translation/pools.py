"""Pools over windows and over the whole image."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from convert.lowering.translation.convolutions import window
from convert.lowering.translation.layer_call import VALID, LayerCall, Result
from convert.lowering.translation.shapes import reshaped


def _pool(operator: str, call: LayerCall) -> Result:
    height, width = call.layer.pool_size
    options: dict[str, Any] = {"filterHeight": height, "filterWidth": width, **window(call.layer)}
    return call.operator(operator, "Pool", call.indices, **options)


maximum = partial(_pool, "MAX_POOL_2D")
average = partial(_pool, "AVERAGE_POOL_2D")


def global_average(call: LayerCall) -> Result:
    """Translate GlobalAveragePooling2D."""
    axes = call.constant("axes", np.array([1, 2], np.int32))
    return call.operator("MEAN", "Mean", [*call.indices, axes], keepDims=bool(call.layer.keepdims))


def global_maximum(call: LayerCall) -> Result:
    """Translate GlobalMaxPooling2D: a pool with one window, which runs in integers where REDUCE_MAX does not."""
    _, height, width, channels = call.input_shapes[0]
    options = {"filterHeight": height, "filterWidth": width, "strideH": 1, "strideW": 1}
    pooled = call.operator("MAX_POOL_2D", "Pool", call.indices, (1, 1, 1, channels), padding=VALID, **options)
    return pooled if call.layer.keepdims else reshaped(call, pooled)
