"""Options that several commands share, each group handed to its command as one typed value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from convert.job import Job, Option, Sources, options_of
from convert.keras_models.sources import DEMO, NETWORKS_OF_WEIGHTS, ModelSource, Size
from convert.quantization.schemes import DEFAULT, SCHEMES
from convert.statistics.verdict import Limits
from edge_runtime.conventions import parse_size

Command = Callable[..., Any]
FILE = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)


class Words(click.types.StringParamType):
    """Text, for which Tab offers the words in the option's metavar, as in "tf|unit|FILE", or files."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin as what is typed; Bash would forget them if files were offered, too."""
        listed = (param.metavar or "").split("|")
        offered = [CompletionItem(word) for word in listed if word.islower() and word.startswith(incomplete)]
        files = [] if {"FILE", "PATH"}.isdisjoint(listed) else [CompletionItem(incomplete, type="file")]
        return offered or files


class SchemeList(click.types.StringParamType):
    """Names of schemes with commas between them; Tab offers those that are not there."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what is typed with its last name completed."""
        typed = incomplete.split(",")
        left = [name for name in SCHEMES if name not in typed[:-1] and name.startswith(typed[-1])]
        return [CompletionItem(",".join([*typed[:-1], name])) for name in left]


WORDS = Words()
TYPES: dict[object, click.ParamType[Any]] = {int: COUNT, Path: FILE, str: WORDS}


class CountOrAuto(click.ParamType["int | None"]):
    """A positive number, or "auto" for None."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number, or None."""
        return None if value == "auto" else COUNT.convert(value, param, ctx)


class ImageSize(click.ParamType["Size"]):
    """A positive number for a square, or height and width as in 224x160."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """Return the number, or height and width."""
        try:
            height, width = parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return height if height == width else (height, width)


class Percent(click.FloatRange):
    """A number in percent, 0 or from 1 to 100: what lies between is a fraction by mistake."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; a percent sign may follow it."""
        plain: Any = str(value).removesuffix("%")
        number: float = super().convert(plain, param, ctx)
        if 0 < number < 1:
            self.fail(f"{value} is less than 1 %: it is in percent, so pass {100 * number:g}", param, ctx)
        return number


POINTS = click.FloatRange(-100, 100)
SIZE = ImageSize()
COUNT_OR_AUTO = CountOrAuto()


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Add options to a command; its help lists them in this order."""
    for each in reversed(options):
        command = each(command)
    return command


def network_options(default_model: str | None) -> Callable[[Command], Command]:
    """Hand the network to a command as `network: ModelSource`, or None if there is no default and none is given."""

    def add(command: Command) -> Command:
        @click.option(
            "--model",
            type=WORDS,
            default=default_model,
            show_default=True,
            metavar="demo|imagenet|PATH",
            help="The bundled demo, Keras' own with ImageNet weights, or a Keras file, SavedModel or float .tflite.",
        )
        @click.option(
            "--weights",
            type=FILE,
            metavar="FILE",
            help="Weights alone, of the article's network or Keras', from Keras, TF-Slim or timm.",
        )
        @click.option("--classes", type=COUNT, metavar="N", help="Number of classes of --weights, to be checked.")
        @click.option(
            "--architecture",
            type=click.Choice(NETWORKS_OF_WEIGHTS),
            help="The network that --weights are for, if the file does not tell.",
        )
        @click.option(
            "--input-size", type=SIZE, metavar="N|HxW", help="Height and width in pixels, if the network is flexible."
        )
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            model: str | None,
            weights: Path | None,
            classes: int | None,
            input_size: Size | None,
            architecture: str | None,
            **others: Any,
        ) -> Any:
            network = None
            if weights is not None and model is not None and _wins("model", "weights"):
                weights = None
            elif weights is not None and _wins("weights", "model"):
                model = None
            if model is not None or weights is not None:
                network = ModelSource(model or DEMO, weights, classes, input_size, architecture)
            else:
                given = {"--classes": classes, "--architecture": architecture, "--input-size": input_size}
                for alone in (name for name, value in given.items() if value is not None):
                    raise click.UsageError(f"{alone} goes with --model or --weights")
            return command(*args, network=network, **others)

        return wrapped

    return add


def _wins(option: str, other: str) -> bool:
    """Return whether the command line says one of two options, and only the settings file or nothing the other."""
    sources = [click.get_current_context().get_parameter_source(name) for name in (option, other)]
    return sources[0] == ParameterSource.COMMANDLINE and sources[1] != ParameterSource.COMMANDLINE


def limit_options(command: Command) -> Command:
    """Hand the limits of the drift check to a command as `limits: Limits`."""

    @functools.wraps(command)
    def wrapped(*args: Any, max_drop: float, max_top5_drop: float, min_agreement: float, **others: Any) -> Any:
        return command(*args, limits=Limits(max_drop, min_agreement / 100, max_top5_drop), **others)

    def limit(
        name: str, kind: click.FloatRange, default: float, metavar: str, help: str
    ) -> Callable[[Command], Command]:
        return click.option(name, type=kind, default=default, show_default=True, metavar=metavar, help=help)

    top1 = "Largest drop of top-1 accuracy, in percentage points."
    top5 = "Largest drop of top-5 accuracy, if there are more than 5 classes."
    agreement = "Least top-1 agreement with the float network."
    options = (
        limit("--max-drop", POINTS, Limits.max_drop_pp, "PP", top1),
        limit("--max-top5-drop", POINTS, Limits.max_top5_drop_pp, "PP", top5),
        limit("--min-agreement", Percent(0, 100), 100 * Limits.min_agreement, "%", agreement),
    )
    return with_options(wrapped, options)


def field_options(kind: type[Sources]) -> Callable[[Command], Command]:
    """Hand the options of `Job`, or of its `Sources` alone, to a command by the names of their fields."""
    hints = get_type_hints(kind)

    def add(command: Command) -> Command:
        listed = options_of(kind).items()
        return with_options(command, [_click_option(field, hints[field.name], option) for field, option in listed])

    return add


def conversion_options(command: Command) -> Command:
    """Add all that decides about a conversion: `quantize`, `network`, the fields of `Job`, and `limits`."""
    schemes = click.option(
        "--quantize",
        type=SchemeList(),
        default=DEFAULT.name,
        show_default=True,
        metavar="SCHEME[,SCHEME...]",
        help=f"How to quantize: {', '.join(SCHEMES)}.",
    )
    return with_options(command, (schemes, network_options(default_model=DEMO), field_options(Job), limit_options))


def _click_option(field: Field[Any], hint: object, option: Option) -> Callable[[Command], Command]:
    """Return the option of a field, given its type; a flag turns a Boolean field into the opposite of its default."""
    dashed = field.name.replace("_", "-")
    if hint is bool:
        name = option.name or (f"no-{dashed}" if field.default else dashed)
        return click.option(
            f"--{name}",
            field.name,
            is_flag=True,
            help=option.help,
            callback=lambda _, __, given: given != field.default,
        )
    plain = next(each for each in get_args(hint) or (hint,) if each is not NoneType)
    return click.option(
        f"--{option.name or dashed}",
        field.name,
        type=click.Choice(option.choices) if option.choices else COUNT_OR_AUTO if option.auto else TYPES[plain],
        default=("auto" if field.default is None else str(field.default)) if option.auto else field.default,
        show_default=True,
        metavar=option.metavar,
        help=option.help,
    )


def quiet_option(command: Command) -> Command:
    """Add `--quiet` to a command that ends in a verdict."""
    return click.option(
        "--quiet", is_flag=True, help="Print the verdict in one line, warnings and errors, but nothing else."
    )(command)


@dataclass(frozen=True)
class Output:
    """How a report is given, beside the terminal; None for what is not written."""

    as_json: bool
    junit: Path | None
    html: Path | None
    csv: Path | None
    no_thumbnails: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that are written."""
        return tuple(path for path in (self.junit, self.html, self.csv) if path is not None)


def output_options(command: Command) -> Command:
    """Hand `--json`, `--junit`, `--html`, `--csv` and `--no-thumbnails` to a command as `output: Output`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        output = Output(**{each.name: options.pop(each.name) for each in fields(Output)})
        return command(*args, output=output, **options)

    return with_options(
        wrapped,
        (
            click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
            click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML."),
            click.option("--html", type=FILE, metavar="FILE", help="Write the report as an HTML page."),
            click.option("--csv", type=FILE, metavar="FILE", help="Write what both answered to each image, as CSV."),
            click.option("--no-thumbnails", is_flag=True, help="Leave images and folders out of the page."),
        ),
    )
