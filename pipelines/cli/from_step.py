"""The command of a step: its options and help come from the step's statement (`components/contract`)."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from cascade_core.configs.overrides import parse_overrides
from components.contract import Folder, Option, Output, Place, Settings, Step
from components.contract.parameters import Parameter, flag_of

OVERRIDES_HELP = "YAML file whose section `overrides` is put in first."
TEXTS = list[str]


def command_of(stated: Step[Any, Any], *, help_text: str | None = None, **fixed: Any) -> Callable[..., None]:
    """Give the function that typer makes a command of: it reads the options, runs the step and shows its result.

    A command of several for one step has values `fixed` that are no options of it, and a help text of its own.
    """

    def command(**options: Any) -> None:
        result = stated(**arguments_of(stated, {**options, **fixed}))
        if show := getattr(result, "show", None):
            show()

    shown = [one for name, one in stated.parameters.items() if name not in fixed]
    parameters = [option for one in shown for option in _options(one)]
    command.__name__ = stated.name
    command.__doc__ = help_text or stated.help
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def arguments_of(stated: Step[Any, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a command's options into the step's arguments.

    Raises:
        UserError: a text cannot be read as its parameter's value.
    """
    return {name: _value(one, options) for name, one in stated.parameters.items()}


def _value(one: Parameter, options: Mapping[str, Any]) -> Any:
    match one.meaning:
        case Settings():
            return parse_overrides(options["set_"] or (), options["overrides"])
        case Option(parse=parse) if parse is not None:
            given = options[one.name]
            return _python_default(one) if given is None else parse(given)
    given = options[one.name]
    if one.several:
        return tuple(given or ())
    return given


def _options(one: Parameter) -> Iterator[inspect.Parameter]:
    """Give the options of one parameter: overrides have two, every other parameter has one."""
    meaning = one.meaning
    if isinstance(meaning, Settings):
        hint = typer.Option("--set", metavar="KEY=VALUE", help=meaning.help)
        yield _keyword("set_", Annotated[TEXTS | None, hint], None)
        file = typer.Option("--overrides", help=OVERRIDES_HELP)
        yield _keyword("overrides", Annotated[Path | None, file], None)
        return
    default = _command_default(one)
    yield _keyword(one.name, Annotated[_option_type(one, default), _typer_option(one)], default)


def _typer_option(one: Parameter) -> Any:
    meaning = one.meaning
    if isinstance(meaning, Option) and meaning.argument:
        return typer.Argument(help=meaning.help, metavar=meaning.metavar, show_default=False)
    flag = flag_of(one.name, meaning)
    if bool in (one.type, *get_args(one.type)):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    extra: dict[str, Any] = {}
    if isinstance(meaning, Option):
        extra = {"metavar": meaning.metavar, "min": meaning.minimum}
    return typer.Option(flag, help=meaning.help, **extra)


def _option_type(one: Parameter, default: Any) -> Any:
    """Give the type that typer reads: texts where the step parses them itself."""
    meaning = one.meaning
    if isinstance(meaning, Option) and meaning.parse is not None:
        base: Any = TEXTS if meaning.repeatable else str
    elif one.several:
        base = list[_item(one.type)]  # type: ignore[misc]
    else:
        base = one.type
    return base | None if default is None and NoneType not in get_args(base) else base


def _command_default(one: Parameter) -> Any:
    meaning = one.meaning
    stated = None if isinstance(meaning, Settings) else meaning.default
    if stated is not None:
        return Path(stated) if isinstance(meaning, Folder | Place | Output) else stated
    if one.required:
        return inspect.Parameter.empty
    if isinstance(meaning, Option) and meaning.parse is not None:
        return None
    return None if one.default == () else one.default


def _python_default(one: Parameter) -> Any:
    return None if one.required else one.default


def _item(hint: Any) -> Any:
    listed = next(part for part in (hint, *get_args(hint)) if getattr(part, "__origin__", None) is not None)
    return get_args(listed)[0]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
