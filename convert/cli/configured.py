"""Commands whose options have their defaults in `irv2.toml`: Click's `default_map`, filled before it reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from convert.cli.errors import fail
from convert.cli.options import COUNT_OR_AUTO, FILE, Command, conversion_options, with_options
from convert.cli.settings import ARTIFACT, NAME, REFERENCE, SHARED, Settings, SettingsError, find, refuse_unknown
from convert.images.conventions import CONVENTIONS
from convert.keras_models.sources import DEMO, IMAGENET
from convert.keras_models.weight_formats import checkpoint_index
from edge_runtime.console import printable
from edge_runtime.errors import EdgeError
from edge_runtime.nearby import did_you_mean

WORDS = {"model": (DEMO, IMAGENET), "preprocessing": CONVENTIONS, "reference-preprocessing": CONVENTIONS}
"""Key whose value is one of these words, or else a path."""
ALONE = "irv2.alone"
USED = "irv2.settings"
"""Keys of a context's `meta`: that it takes no settings file, and the one that it took."""
SOURCES = {ParameterSource.COMMANDLINE: "option", ParameterSource.DEFAULT: "default"}
"""Where Click has a value from -> what the user is told, if it is not the settings file."""
OF_DRIFT = {ARTIFACT: "candidate", "validation": "images"}
"""Key at the top of the file -> parameter of `irv2-drift` that means the same under another name."""
OPENED = {
    "labels": ("labels", "name the file with the names of the classes"),
    "calibration": ("calibration", "name a folder of about 100 images"),
    "validation": ("validation", "name a folder of images to judge on"),
    "candidate": (ARTIFACT, "convert first, or name an artifact that git has"),
    "reference": (REFERENCE, "store its answers where it is, with --save-reference FILE.npz, and name that file"),
    "images": ("validation", "name the folder of images to compare on"),
}
"""Parameter of a command that is opened -> its key in the file, and what to do where there is nothing."""
OF_ONE_RUN = {"json", "quiet", "dry-run", "debug"}
"""Options of `irv2-drift` that do not decide what it does."""
TEXTS = (click.Path, click.Choice, type(click.STRING))
"""Types of options whose values TOML writes in quotes; numbers may be, for "auto" and "224x160"."""

Defaults = Callable[[Settings, click.Context], dict[str, Any]]


def configured(defaults: Defaults) -> Callable[[Command], Command]:
    """Add --config and --no-config to a command: what it is not given comes from `irv2.toml`.

    Args:
        defaults: returns what a settings file says to the command, as parameter -> value.
    """

    def alone(context: click.Context, _: click.Parameter, is_given: bool) -> None:
        if is_given:
            context.meta[ALONE] = True

    def take(context: click.Context, _: click.Parameter, given: Path | None) -> None:
        if context.meta.get(ALONE) or context.resilient_parsing:
            return
        try:
            path = given or find()
            if path is not None:
                settings = Settings.read(path)
                context.default_map, context.meta[USED] = defaults(settings, context), settings.path
        except (EdgeError, OSError) as error:
            fail(error)

    config = click.option(
        "--config", type=FILE, metavar="FILE", is_eager=True, expose_value=False, callback=take,
        help=f"Where the defaults of options are.  [default: the nearest {NAME}, from the working folder upwards]",
    )  # fmt: skip
    no_config = click.option(
        "--no-config", is_flag=True, is_eager=True, expose_value=False, callback=alone, help=f"Ignore any {NAME}."
    )
    return lambda command: with_options(command, (config, no_config))


def of_conversion(settings: Settings, context: click.Context) -> dict[str, Any]:
    """Return what a settings file says to `irv2-convert`."""
    known = conversion_settings()
    return {str(known[key].name): value for key, value in _checked(settings, settings.said, known).items()}


def of_drift(settings: Settings, context: click.Context) -> dict[str, Any]:
    """Return what a settings file says to a command of `irv2-drift`: the table for it, before what all share."""
    group = context.find_root().command
    commands = group.commands.values() if isinstance(group, click.Group) else [context.command]
    known = {key: parameter for command in commands for key, parameter in _by_option(command).items()}
    shared = _checked(settings, settings.said, conversion_settings())
    if shared.get("model") not in (None, *WORDS["model"]):
        shared = {REFERENCE: shared["model"], **shared}
    said = [*shared.items(), *_checked(settings, settings.of_drift, known).items()]
    own = {parameter.name for parameter in context.command.params}
    names = {**{key: parameter.name for key, parameter in known.items()}, **OF_DRIFT}
    return {str(names[key]): value for key, value in said if names.get(key) in own}


def conversion_settings() -> dict[str, click.Parameter]:
    """Return what may stand at the top of the file, as parameters: key -> parameter."""
    shared = {key: click.Option([f"--{key}"], type=FILE, help=text) for key, text in SHARED.items()}
    return {**_by_option(click.Command(None, params=_parameters())), **shared}


def settings_note(context: click.Context) -> list[str]:
    """Return the line that says which settings file gave a command a value; none if none did."""
    is_used = ParameterSource.DEFAULT_MAP in _sources(context)
    return [f"settings of {printable(str(context.meta[USED]))}"] if is_used else []


def is_silent(context: click.Context) -> bool:
    """Return whether neither options nor a settings file say anything to a command."""
    has_file = USED in context.meta or ALONE in context.meta
    return not has_file and ParameterSource.COMMANDLINE not in _sources(context)


def refuse_no_network(context: click.Context) -> None:
    """Raise `SettingsError` if a settings file leaves out the network, in whose place nobody wants the demo."""
    said = {context.get_parameter_source(name) for name in ("model", "weights")}
    if USED in context.meta and said == {ParameterSource.DEFAULT}:
        raise SettingsError(f"{context.meta[USED]} names no network: write model = 'PATH' into it, or pass --model")


def refuse_missing_files(context: click.Context, opened: Mapping[str, Path | None]) -> None:
    """Raise `SettingsError` if a settings file names something that is not there, of what a command opens.

    `opened` is a path for each parameter of `OPENED`, None for what is not opened this time.
    """
    for name, path in opened.items():
        is_said = context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
        if is_said and path is not None and not checkpoint_index(path).exists():
            key, hint = OPENED[name]
            raise SettingsError(f"{context.meta[USED]}: {key} {path} does not exist{did_you_mean(path)}: {hint}")


def refuse_comparing_nothing(context: click.Context, candidate: Path | None, reference: Path) -> None:
    """Raise `SettingsError` if a settings file names as reference what is judged: such a gate would pass for ever."""
    is_said = context.get_parameter_source("reference") is ParameterSource.DEFAULT_MAP
    if candidate is None or not is_said or not (candidate.exists() and reference.exists()):
        return
    if reference.samefile(candidate):
        raise SettingsError(
            f"{context.meta[USED]}: {REFERENCE} {reference} is the candidate itself, so nothing would be compared: "
            "name the float network, or answers stored with --save-reference"
        )


def refuse_missing_sources(context: click.Context) -> None:
    """Raise `SettingsError` if a settings file names something that is not there, of what a conversion opens."""
    refuse_missing_files(context, {name: context.params[name] for name in ("labels", "calibration", "validation")})


def gate_settings(command: click.Command) -> dict[str, click.Parameter]:
    """Return what decides about a run of `irv2-drift gate`, as parameters: key in the file -> parameter."""
    candidate = next(each for each in command.params if each.name == OF_DRIFT[ARTIFACT])
    options = {key: parameter for key, parameter in _by_option(command).items() if key not in OF_ONE_RUN}
    return {ARTIFACT: candidate, **options}


def effective(context: click.Context, parameters: Mapping[str, click.Parameter]) -> list[tuple[str, str, str]]:
    """Return for each parameter its key, the value, and where that is from."""
    told = {**SOURCES, ParameterSource.DEFAULT_MAP: str(context.meta.get(USED))}
    rows = []
    for key, parameter in parameters.items():
        source = context.get_parameter_source(str(parameter.name))
        if source is not None:
            value = _shown(key, parameter, context.params[str(parameter.name)])
            rows.append((key, value, told.get(source, source.name.lower())))
    return rows


def _sources(context: click.Context) -> set[ParameterSource | None]:
    return {context.get_parameter_source(str(parameter.name)) for parameter in context.command.params}


def _shown(key: str, parameter: click.Parameter, value: Any) -> str:
    """Return a value as the user would say it; of a flag, whether it was given."""
    if isinstance(value, bool):
        is_turned = key.startswith("no-") and not str(parameter.name).startswith("no_")
        return "yes" if value != is_turned else "no"
    if parameter.multiple:
        value = ", ".join(value) or None
    return str(value) if value is not None else "auto" if parameter.type is COUNT_OR_AUTO else "-"


def _parameters() -> list[click.Parameter]:
    """Return the options that decide about a conversion."""

    @click.command()
    @conversion_options
    def conversion(**_: Any) -> None:
        """Do nothing: it has the options."""

    return conversion.params


def _by_option(command: click.Command) -> dict[str, click.Parameter]:
    """Return a command's options by the names that users type, without dashes."""
    return {
        name.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.expose_value
        for name in parameter.opts
    }


def _checked(settings: Settings, said: Mapping[str, Any], known: Mapping[str, click.Parameter]) -> dict[str, Any]:
    """Return a part of a settings file as Click takes it; a `SettingsError` names a key or value that is wrong."""
    unknown = next((key for key in said if key not in known), None)
    if unknown is not None:
        raise refuse_unknown(unknown, known, str(settings.path))
    return {key: _value(settings, key, value, known[key]) for key, value in said.items()}


def _value(settings: Settings, key: str, value: Any, parameter: click.Parameter) -> Any:
    """Return a value as Click takes it from a `default_map`: checked, and a path as the working folder sees it."""
    where = f"{settings.path}: {key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
    if isinstance(parameter, click.Option) and parameter.is_flag:
        if not isinstance(value, bool):
            raise SettingsError(f"{where} is neither true nor false: write one of the two, without quotes")
        return value
    if isinstance(parameter, click.Option) and parameter.multiple:
        several = value if isinstance(value, list) else [value]
        return [_single(settings, key, each, parameter, where) for each in several]
    return _single(settings, key, value, parameter, where)


def _single(settings: Settings, key: str, value: Any, parameter: click.Parameter, where: str) -> Any:
    takes_text = isinstance(parameter.type, TEXTS)
    if isinstance(value, bool) or not isinstance(value, str if takes_text else (str, int, float)):
        raise SettingsError(f"{where} is not {'a text: write it in quotes' if takes_text else 'a number: write one'}")
    if isinstance(value, str) and (parameter.type is FILE or value not in WORDS.get(key, (value,))):
        value = settings.beside(value)
    try:
        parameter.type.convert(value, parameter, None)
    except click.BadParameter as error:
        raise SettingsError(f"{where}: {error.message}") from error
    return value
