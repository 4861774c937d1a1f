"""Figures of a conversion alone as text (speed, layers, calibration), the same in the terminal and on the page."""

from __future__ import annotations

import re

from convert.reporting.formatting import Report, count, decibel, milliseconds, percent
from convert.statistics.verdict import FAIL

INT8_SCHEMES = ("int8", "mixed", "dynamic")
NO_DOT_PRODUCT = (
    "this processor has no int8 dot product (AVX-VNNI, AVX512-VNNI or Arm's asimddp): int8 is faster on one that has"
)


def speed(report: Report) -> str:
    """Return the time of an image of a conversion's report, beside that of the float network if it was measured."""
    ours, theirs = report.get("latency_ms"), report.get("float_latency_ms")
    if not ours or not theirs:
        return f"{milliseconds(ours)} per image"
    return f"{milliseconds(ours)} per image, {theirs / ours:.1f} times as fast as float ({milliseconds(theirs)})"


def speed_notes(report: Report) -> list[str]:
    """Say why int8 is hardly faster than float, where the processor that measured is the reason."""
    is_int8 = report.get("scheme") in INT8_SCHEMES and report.get("latency_ms") is not None
    return [NO_DOT_PRODUCT] if is_int8 and report["environment"].get("int8_dot_product") is False else []


def noisiest_layer(report: Report) -> str | None:
    """Return the layer of a conversion's report that adds the most noise by itself; None if none was measured."""
    return _lowest(report, "own_sqnr_db", "by itself")


def most_accumulated(report: Report) -> str | None:
    """Return the layer behind which the noise of all layers so far is largest; None if none was measured."""
    return _lowest(report, "sqnr_db", "after all layers up to it")


def _lowest(report: Report, key: str, what: str) -> str | None:
    known = [layer for layer in report.get("layers", ()) if layer.get(key) is not None]
    lowest = min(known, key=lambda layer: float(layer[key]), default=None)
    return None if lowest is None else f"{lowest['name']}, {decibel(lowest[key])} {what}"


def layer_advice(report: Report) -> list[str]:
    """Say what to do about the noisiest layer, of an int8 artifact that failed."""
    layer, gate = noisiest_layer(report), report.get("gate")
    if layer is None or gate is None or gate["verdict"] != FAIL or report["scheme"] != "int8":
        return []
    name = re.escape(layer.rsplit(", ", 1)[0])
    return [f"to keep layers in float: --recover finds which; or --quantize mixed --keep-float '^{name}$' and more"]


def calibration_images(calibration: Report) -> str:
    """Return how many images a report's `calibration` used, of how many that were given, and the calibrator."""
    apart, available = calibration.get("held_out", 0), calibration.get("available", 0)
    used, held_out = calibration["images"] + apart, f" and {count(apart)} held out" if apart else ""
    of = f" of {count(available)}" if available > used else ""
    images = f"{count(calibration['images'])} image{'' if calibration['images'] == 1 else 's'}"
    return f"{images}{held_out}{of}, {calibration['calibrator']}"


def halves(calibration: Report) -> str | None:
    """Return how far the ranges of two halves of the calibration images differ, and what to do if that is much."""
    differ = calibration.get("halves_differ")
    if differ is None:
        return None
    enough = calibration.get("images_for_ranges")
    if enough is None:
        return percent(differ, 1)
    return (
        f"{percent(differ, 1)}: about {count(enough)} calibration images would bring it to "
        f"{percent(calibration['halves_aim'], 0)} (--calibration-size {enough})"
    )
