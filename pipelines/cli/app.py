"""The command line: `cascade-clip COMMAND`, a thin layer over the steps and pipelines.

A command's module is imported when the command is called, and slow packages (torch, mlflow, kfp, boto3) in the
command's body, so `--help` answers at once.
"""

import inspect
import logging
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode, termination_raised
from cascade_core.runtime.extras import missing_package
from cascade_core.runtime.files import explain_system_error
from cascade_core.runtime.formats import PROJECT
from components.entry import enter
from components.launching import last_words
from components.servers.addresses import masked, masked_trace
from pipelines.cli.quoted_paths import paths_of, with_quoted
from pipelines.cli.summaries import SUMMARIES
from pipelines.cli.table import GROUPS, Command, Group

CHATTY = [
    "PIL",
    "alembic",
    "asyncio",
    "botocore",
    "fsspec",
    "git",
    "matplotlib",
    "onnx_ir",
    "onnxscript",
    "urllib3",
]
"""Loggers of libraries whose messages below warnings are hidden."""
PATHS = f"{__name__}.paths"
"""Key of a command's context: the paths of its options, for the sentence of an error."""
WARNS_WITHOUT_NEED = "onnxscript.optimizer"
"""This logger warns of every node that it does not fold into a constant, which changes no result."""
VALUE_WORDS = {"str": "TEXT", "path": "PATH", "int": "NUMBER", "float": "NUMBER"}
"""The word for a value in a help text, by typer's name of its type."""


class Unloaded(TyperCommand):
    """A command of a group's help and completion, whose module is not imported yet."""

    def __init__(self, group: Group, command: Command) -> None:
        summary = SUMMARIES.get(" ".join([*group.path, command.name]))
        super().__init__(
            command.name, help=summary or inspect.getdoc(command.function), rich_markup_mode=None
        )
        self.command = command

    def loaded(self) -> Any:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(self.name, cls=CascadeCommand, epilog=self.command.example)(self.command.function)
        return typer.main.get_command(app)


class LazyGroup(TyperGroup):
    """Imports the module of a command when the command is called."""

    own: ClassVar[Group]

    @classmethod
    def of(cls, group: Group) -> type["LazyGroup"]:
        """Return the class of a group of the table."""
        return type(cls.__name__, (cls,), {"own": group})

    def __init__(self, *, commands: Any = None, **settings: Any) -> None:
        own = {command.name: Unloaded(self.own, command) for command in self.own.commands}
        super().__init__(commands={**own, **(commands or {})}, **settings)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, Unloaded):
            command = command.loaded()
        return name, command, rest


class CascadeGroup(LazyGroup):
    """Reports an error that the user can mend in one sentence; any other exception keeps its trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with termination_raised():
                return super().invoke(ctx)
        except (UserError, OSError, ModuleNotFoundError) as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                print(masked_trace(error), file=sys.stderr)
            print(f"error: {with_quoted(masked(sentence), ctx.meta.get(PATHS, ()))}", file=sys.stderr)
            last_words.leave(error, sentence)
            raise typer.Exit(ExitCode.USER_ERROR) from error


def _sentence(error: UserError | OSError | ModuleNotFoundError) -> str | None:
    """Return the sentence that reports an error, or None if the error is a defect of this program."""
    if isinstance(error, UserError):
        # torch passes on the whole trace of a loader process; the sentence is at its end.
        return str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2].rstrip()
    if isinstance(error, OSError):
        return explain_system_error(error)
    package = missing_package(error)
    return package and f"this command needs {package}"


class CascadeCommand(TyperCommand):
    """Names the values of its options by words, and ends its help with an example to paste, which is never wrapped.

    In the folder of a project the command of a step takes its defaults from the project's settings.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            display: Any = parameter.display_type  # type: ignore[attr-defined]
            parameter.display_type = partial(_value_word, display)  # type: ignore[attr-defined]

    def invoke(self, ctx: Any) -> Any:
        ctx.meta[PATHS] = paths_of(ctx.params)
        return super().invoke(ctx)

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if (step := getattr(self.callback, "step", None)) is not None and "--help" not in args:
            from pipelines.cli.project_defaults import defaults_of

            extra["default_map"] = defaults_of(step, args)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"\nExample:\n  {self.epilog}\n")


def _value_word(display: Callable[[Any], str], context: Any) -> str:
    """Give the word for a value in a help text; choices and flags stay as typer shows them, such as <cpu|gpu>."""
    kind = re.sub(r"^<(?:list\[)?(.*?)(?: range)?\]?>$", r"\1", display(context)).lower()
    return VALUE_WORDS.get(kind, display(context))


def _app() -> typer.Typer:
    """Build the tree of groups and commands from `table.GROUPS`."""
    apps: dict[tuple[str, ...], typer.Typer] = {}
    for group in GROUPS:
        if group.path:
            app = typer.Typer(
                cls=LazyGroup.of(group), help=group.help, no_args_is_help=True, rich_markup_mode=None
            )
            apps[group.path[:-1]].add_typer(app, name=group.path[-1])
        else:
            app = typer.Typer(
                cls=CascadeGroup.of(group),
                no_args_is_help=True,
                pretty_exceptions_enable=False,
                rich_markup_mode=None,
                context_settings={"max_content_width": 110},
            )
            app.callback()(main)
        apps[group.path] = app
    return apps[()]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cascade-clip {metadata.version(PROJECT)}")
        raise typer.Exit


def main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log details, and the trace of every error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Zero-shot semantic segmentation: ZegCLIP and Cascade-CLIP in a reproducible workflow."""
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    enter()
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(WARNS_WITHOUT_NEED).setLevel(logging.ERROR)


app = _app()
