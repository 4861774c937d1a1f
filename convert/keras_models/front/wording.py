"""How a front's layers and their constants are written in the lines about them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.arrays import Array


def described(layer: Any) -> str:
    """Name a layer with what it does: `Rescaling(1/127.5, -1)`."""
    configuration = layer.get_config()
    match type(layer).__name__:
        case "Rescaling":
            values = [exact_numbers(layer.scale), exact_numbers(layer.offset)]
            shown = [*map(shown_numbers, values)] if np.any(values[1]) else [shown_numbers(values[0])]
        case "Normalization":
            import keras

            mean, variance = (np.asarray(keras.ops.convert_to_numpy(v)) for v in (layer.mean, layer.variance))
            shown = [
                f"mean {shown_numbers(exact_numbers(mean))}",
                f"std {shown_numbers(np.sqrt(exact_numbers(variance)))}",
            ]
        case _:
            shown = [str(configuration[key]) for key in ("height", "width", "cropping") if key in configuration]
    return f"{type(layer).__name__}({', '.join(shown)})"


def shown_numbers(values: Array) -> str:
    """Write constants as people do: 1/255, and one number for equal channels."""
    return " ".join(dict.fromkeys(_fraction(float(value)) for value in np.asarray(values).reshape(-1)))


def _fraction(value: float) -> str:
    inverse = 1 / value if value else 0.0
    is_inverse = abs(inverse) > 1 and abs(inverse * 2 - round(inverse * 2)) < 1e-6 * abs(inverse)
    return f"{'-' if value < 0 else ''}1/{abs(inverse):.6g}" if is_inverse and abs(value) < 0.5 else f"{value:.6g}"


def exact_numbers(value: Any) -> Array:
    """Return constants in float64; those in single precision by their shortest decimals, as they were written."""
    values = np.asarray(value)
    if values.dtype == np.float32:
        return np.asarray([float(str(each)) for each in values.reshape(-1)]).reshape(values.shape)
    return np.asarray(values, np.float64)
