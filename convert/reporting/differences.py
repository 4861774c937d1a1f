"""Two artifacts or reports side by side: what differs in figures, in what the cards say, in labels, layers, answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from convert.reporting.described import Described
from convert.reporting.formatting import Report, count, decibel, error, megabytes, milliseconds, percent, points

MISSING = object()
"""In place of a value that is not there, or was not measured; None is a value."""
NOT_COMPARED = {"drift", "probe", "sha256.card"}
"""Keys of a card that say nothing of how the artifact was made."""
OF_REPORTS = ("scheme", "head", "calibration", "float_layers", "source", "environment")
"""Keys of a report that stand for the card where only a report is there."""
LISTED = {"calibration.convergence", "calibration.tried_sqnr_db"}
"""Keys of a report whose values are measured, not chosen."""
SQNR = "drift.sqnr_db"
"""Of equal outputs it is None, which says something."""
LAYER_KEYS = ("dtype", "own_sqnr_db", "sqnr_db")


@dataclass(frozen=True)
class Figure:
    """A figure of a report: its key there, its name, its text, and how two of them differ in words."""

    key: str
    name: str
    text: Callable[[Any], str]
    difference: Callable[[float, float], str] | None = None


def _times(one: float, other: float) -> str:
    return f"{other / one:.2f} times" if one else ""


def _of_rates(one: float, other: float) -> str:
    return f"{100 * (other - one):+.2f} pp"


def _of_points(one: float, other: float) -> str:
    return f"{other - one:+.2f} pp"


def _of_decibels(one: float, other: float) -> str:
    return f"{other - one:+.1f} dB"


FIGURES = (
    Figure("gate.verdict", "verdict", str),
    Figure("artifact.bytes", "size", megabytes, _times),
    Figure("latency_ms", "time per image", milliseconds, _times),
    Figure("drift.images", "images", count),
    Figure("drift.top1_reference", "accuracy, float", percent, _of_rates),
    Figure("drift.top1_candidate", "accuracy", percent, _of_rates),
    Figure("drift.top1_drop_pp", "drop", points, _of_points),
    Figure("drift.agreement_top1", "agreement", percent, _of_rates),
    Figure("drift.agreement_clear", "agreement, clear lead", percent, _of_rates),
    Figure(SQNR, "SQNR", decibel, _of_decibels),
    Figure("drift.max_abs_error", "largest probability error", error, _times),
    Figure("drift.ece_candidate", "calibration error", percent, _of_rates),
)


@dataclass(frozen=True)
class Pair:
    """A key, and what each of the two has there; None where it has nothing."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class LabelDifference:
    """Labels that only one of the two has, and whether both have the same labels in the same order."""

    only_a: list[str]
    only_b: list[str]
    same_order: bool


@dataclass(frozen=True)
class Differences:
    """What `irv2-convert compare` found, and prints as JSON.

    Attributes:
        a, b: `path`, and `sha256` of the artifact.
        figures: all that either of the two has, by their keys in a report.
        card: what differs between the cards, by key; where one has no card, between the reports.
        labels: None where one of the two does not have them.
        layers: by name, those that differ in data type or noise: `dtype`, `own_sqnr_db` and `sqnr_db` of each.
        answers: of both to the same images, with the keys of a report's `drift`: `reference` is a; None without images.
        notes: what makes figures hard to compare.
    """

    a: dict[str, str]
    b: dict[str, str]
    figures: list[Pair]
    card: list[Pair]
    labels: LabelDifference | None
    layers: list[Pair]
    answers: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the keys as JSON values."""
        return asdict(self)


def differences(a: Described, b: Described, answers: Report | None = None) -> Differences:
    """Compare two descriptions; `answers` is the `drift` of b from a, if it was measured."""
    layers = [each.report.get("layers") or () for each in (a, b)]
    return Differences(
        _identity(a),
        _identity(b),
        [pair for figure in FIGURES if (pair := _pair(figure.key, a.report, b.report)) is not None],
        list(_unequal(_made(a, b), _made(b, a))),
        _labels(a.labels, b.labels),
        list(_unequal(*map(_by_name, layers))) if all(layers) else [],
        None if answers is None else dict(answers),
        [*a.notes, *b.notes, *_cautions(a, b)],
    )


def value_at(report: Report, key: str) -> Any:
    """Return the value at a dotted key, or `MISSING`."""
    value: Any = report
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def _identity(each: Described) -> dict[str, str]:
    return {"path": str(each.path), "sha256": each.report["artifact"]["sha256"]}


def _pair(key: str, a: Report, b: Report) -> Pair | None:
    """Return what both reports have at a key; None where neither has anything."""
    values = [value_at(report, key) for report in (a, b)]
    if all(value is MISSING or (value is None and key != SQNR) for value in values):
        return None
    return Pair(key, *(None if value is MISSING else value for value in values))


def _made(each: Described, other: Described) -> dict[str, Any]:
    """Return how it was made, by dotted keys, in a form that the other has, too."""
    if each.card is not None and other.card is not None:
        card = json.loads(each.card.to_bytes())
        return {key: value for key, value in _flat(card) if not _is_below(key, NOT_COMPARED)}
    flat = _flat({key: each.report[key] for key in OF_REPORTS if key in each.report})
    return {key: value for key, value in flat if not _is_below(key, LISTED)}


def _is_below(key: str, places: set[str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _flat(value: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, each in value.items():
        if isinstance(each, Mapping) and each:
            yield from _flat(each, f"{at}{key}.")
        else:
            yield f"{at}{key}", each


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Pair]:
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            yield Pair(key, a.get(key), b.get(key))


def _by_name(layers: Sequence[Report]) -> dict[str, dict[str, Any]]:
    return {layer["name"]: {key: layer.get(key) for key in LAYER_KEYS} for layer in layers}


def _labels(a: Sequence[str] | None, b: Sequence[str] | None) -> LabelDifference | None:
    if a is None or b is None:
        return None
    only_a, only_b = ([label for label in one if label not in set(other)] for one, other in ((a, b), (b, a)))
    return LabelDifference(only_a, only_b, tuple(a) == tuple(b))


def _cautions(a: Described, b: Described) -> Iterator[str]:
    """Say what the two were not measured alike in."""
    both = a.report["drift"] is not None and b.report["drift"] is not None
    images = [_source(each, "build.validation_manifest_sha256") for each in (a, b)]
    if both and None in images:
        yield "whether both were measured on the same images is not recorded"
    elif both and images[0] != images[1]:
        yield "the two were measured on different images"
    weights = [_source(each, "weights_sha256") for each in (a, b)]
    if None not in weights and weights[0] != weights[1]:
        yield "the two come from different networks: drift is from the float network of each"
    machines = [
        {key: value for key, value in each.report.get("environment", {}).items() if key != "versions"}
        for each in (a, b)
    ]
    if all(machines) and machines[0] != machines[1]:
        yield "the two were timed on different machines"
    elif None not in (times := [each.report.get("latency_ms") for each in (a, b)]) and times[0] != times[1]:
        yield "each was timed in its own run, beside whatever else ran then: irv2-benchmark times a file again"


def _source(each: Described, key: str) -> str | None:
    value = MISSING if each.card is None else value_at(each.card.source, key)
    return value if isinstance(value, str) else None
