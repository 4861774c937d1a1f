"""Fields of a dataclass as options of a command line: what the command line, its help and the card need to know."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """How a field is given on the command line, and whether cards record it.

    Attributes:
        help: what it is for; for a Boolean field, what its flag does, which is the opposite of its default.
        name: on the command line, without dashes; None for the field's, after "no-" if it is True by default.
        metavar: what stands for the value in the help.
        choices: all values it may take.
        auto: whether "auto" is a value, which stands for None.
        recorded: whether it decides about a byte of the artifact and is recorded in `source.build` of its card.
    """

    help: str
    name: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    auto: bool = False
    recorded: bool = False


def option(default: T, help: str, **more: Any) -> T:
    """Return a dataclass field that is an option; `more` are attributes of `Option`."""
    made: T = field(default=default, metadata={"option": Option(help, **more)})
    return made


def options_of(kind: type[Any]) -> dict[Field[Any], Option]:
    """Return the fields of a dataclass that are options."""
    return {each: each.metadata["option"] for each in fields(kind) if "option" in each.metadata}
