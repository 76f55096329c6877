"""The commands of the command line, loaded."""

from typing import Any

import typer

from pipelines.cli.app import app


def command_at(*path: str) -> Any:
    """Return the command or group that these words lead to."""
    command: Any = typer.main.get_command(app)
    for name in path:
        _, command, _ = command.resolve_command(typer.Context(command), [name])
    return command
