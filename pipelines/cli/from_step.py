"""The command of a step: its options and help come from the step's statement (`components/contract`)."""

import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args

import typer

from cascade_core.configs.overrides import parse_overrides
from components.contract import Folder, Option, Output, Place, Settings, Step
from components.contract.parameters import Parameter, flag_of
from pipelines.cli.options import OverridesFile, Threads, UsableThreads, choose_threads

TEXTS = list[str]
log = logging.getLogger(__name__)


def command_of(step: Step[Any, Any], *, help_text: str | None = None, **fixed: Any) -> Callable[..., None]:
    """Return the function that typer turns into a command: it reads the options, runs the step, shows the result.

    Several commands may share one step: each has its own help text, and the arguments `fixed` instead of options.
    """

    def command(**options: Any) -> None:
        if step.threads is not None:
            _use_threads(step.threads, options)
        result = step(**arguments_of(step, {**options, **fixed}))
        # Of several processes under torchrun the first one reports.
        if (show := getattr(result, "show", None)) and os.environ.get("RANK", "0") == "0":
            show()

    free = [parameter for name, parameter in step.parameters.items() if name not in fixed]
    options = [option for parameter in free for option in _options(parameter)]
    if step.threads is not None and "threads" not in step.parameters:
        options.append(_keyword("threads", Threads if step.threads == "free" else UsableThreads, None))
    command.__name__ = step.name
    command.step = step  # type: ignore[attr-defined]
    command.__doc__ = help_text or step.help
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _use_threads(default: Literal["free", "usable"], options: Mapping[str, Any]) -> None:
    """Use the threads of `--threads`; the step itself limits them to the usable cores."""
    stated = options["threads"]
    if stated is not None or default == "free":
        choose_threads(stated)


def arguments_of(step: Step[Any, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a command's options into the step's arguments.

    Raises:
        UserError: a text cannot be parsed as its parameter's value.
    """
    return {name: _argument(parameter, options) for name, parameter in step.parameters.items()}


def _argument(parameter: Parameter, options: Mapping[str, Any]) -> Any:
    meaning = parameter.meaning
    if isinstance(meaning, Settings):
        return parse_overrides(options["set_"] or (), options["overrides"])
    value = options[parameter.name]
    if isinstance(meaning, Option) and meaning.former is not None:
        value = with_former(
            meaning.former, flag_of(parameter.name, meaning), options[_former(parameter)], value
        )
    if isinstance(meaning, Option) and meaning.parse is not None:
        if value is not None:
            return meaning.parse(value)
        return None if parameter.required else parameter.default
    return tuple(value or ()) if parameter.several else value


def with_former(former: str, flag: str, given: TEXTS | None, value: TEXTS | None) -> TEXTS | None:
    """Join the values of a flag and of its former name, whose use is logged."""
    if not given:
        return value
    log.warning("%s is called %s now; the old name still works", former, flag)
    return [*(value or ()), *given]


def _former(parameter: Parameter) -> str:
    return f"former_{parameter.name}"


def _options(parameter: Parameter) -> Iterator[inspect.Parameter]:
    """Yield the options of one parameter: overrides have two, every other parameter has one."""
    meaning = parameter.meaning
    if isinstance(meaning, Settings):
        hint = typer.Option("--set", metavar="KEY=VALUE", help=meaning.help)
        yield _keyword("set_", Annotated[TEXTS | None, hint], None)
        yield _keyword("overrides", OverridesFile, None)
        return
    default = _default(parameter)
    yield _keyword(parameter.name, Annotated[_type(parameter, default), _typer_option(parameter)], default)
    if isinstance(meaning, Option) and meaning.former is not None:
        assert meaning.repeatable, "only values that join may have a former flag"
        hint = typer.Option(meaning.former, hidden=True)
        yield _keyword(_former(parameter), Annotated[TEXTS | None, hint], None)


def _typer_option(parameter: Parameter) -> Any:
    meaning = parameter.meaning
    if isinstance(meaning, Option) and meaning.argument:
        return typer.Argument(help=meaning.help, metavar=meaning.metavar, show_default=False)
    flag = flag_of(parameter.name, meaning)
    if bool in (parameter.type, *get_args(parameter.type)):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    if isinstance(meaning, Option):
        reads = Path in (parameter.type, *get_args(parameter.type)) and "FILE"
        return typer.Option(
            flag,
            help=meaning.help,
            metavar=meaning.metavar or reads or None,
            min=meaning.minimum,
            max=meaning.maximum,
        )
    return typer.Option(flag, help=meaning.help, metavar="PATH" if isinstance(meaning, Place) else "FOLDER")


def _type(parameter: Parameter, default: Any) -> Any:
    """Return the type that typer reads: text if the step parses the value itself."""
    meaning, hint = parameter.meaning, parameter.type
    if isinstance(meaning, Option) and meaning.parse is not None:
        hint = TEXTS if meaning.repeatable else str
    elif parameter.several:
        sequence = next(part for part in (hint, *get_args(hint)) if hasattr(part, "__origin__"))
        hint = list[get_args(sequence)[0]]  # type: ignore[misc]
    return hint | None if default is None and NoneType not in get_args(hint) else hint


def _default(parameter: Parameter) -> Any:
    meaning = parameter.meaning
    stated = None if isinstance(meaning, Settings) else meaning.default
    if stated is not None:
        return Path(stated) if isinstance(meaning, Folder | Place | Output) else stated
    if parameter.required:
        return inspect.Parameter.empty
    parses = isinstance(meaning, Option) and meaning.parse is not None
    return None if parses or parameter.default == () else parameter.default


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
