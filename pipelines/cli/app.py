"""The command line: `cascade-clip <command>`, a thin layer over the steps and pipelines.

What is slow to import (torch, mlflow, kfp, boto3) is imported inside the commands, so that `--help` is at once.
"""

import logging
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode, termination_raised
from cascade_core.runtime.files import refusal
from pipelines.cli.table import GROUPS

CHATTY = (
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
)
NOT_IN_THE_LIGHT_IMAGE = ("open_clip", "torch", "torchmetrics", "torchvision")


class CascadeGroup(TyperGroup):
    """Says in one sentence what is wrong with what was given or installed; other exceptions keep their trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with termination_raised():
                return super().invoke(ctx)
        except (UserError, OSError, ModuleNotFoundError) as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                traceback.print_exception(error)
            print(f"error: {sentence}", file=sys.stderr)
            raise typer.Exit(ExitCode.USER_ERROR) from error


def _sentence(error: UserError | OSError | ModuleNotFoundError) -> str | None:
    """Give what people are told of an error; None of one that is a fault of the program."""
    if isinstance(error, UserError):
        # Of one in a process that loads pictures, torch hands on the trace, which ends with what the error says.
        return str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2].rstrip()
    if isinstance(error, OSError):
        return refusal(error)
    if error.name not in NOT_IN_THE_LIGHT_IMAGE:
        return None
    return (
        f"this command computes with a model and needs the package {error.name}, which is not installed here; run it "
        "in the image with torch, or install the project whole"
    )


class CascadeCommand(TyperCommand):
    """Ends its help with a command to paste, which is never wrapped."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"\nExample:\n  {self.epilog}\n")


def _app() -> typer.Typer:
    """Put the groups together, each in the one that the words before its own name."""
    apps: dict[tuple[str, ...], typer.Typer] = {}
    for group in GROUPS:
        if group.path:
            app = typer.Typer(help=group.help, no_args_is_help=True, rich_markup_mode=None)
            apps[group.path[:-1]].add_typer(app, name=group.path[-1])
        else:
            app = typer.Typer(
                cls=CascadeGroup,
                no_args_is_help=True,
                add_completion=False,
                pretty_exceptions_enable=False,
                rich_markup_mode=None,
                context_settings={"max_content_width": 110},
            )
            app.callback()(main)
        apps[group.path] = app
        for name, function, example in group.commands:
            app.command(name, cls=CascadeCommand, epilog=example)(function)
    return apps[()]


def main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell details, and the trace of every error.")
    ] = False,
) -> None:
    """Zero-shot semantic segmentation: ZegCLIP and Cascade-CLIP in a reproducible workflow."""
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


app = _app()
