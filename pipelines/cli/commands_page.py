"""The page of all commands, `docs/commands.md`, from the table of commands and their help."""

import inspect
from pathlib import Path

from cascade_core.runtime.files import new_file
from pipelines.cli.table import GROUPS, Group

FILE = Path(__file__).parents[2] / "docs" / "commands.md"
HEAD = """# Commands

This page is generated from the commands' own help (`make generated`). `cascade-clip COMMAND --help` lists the options of a command, and ends
with an example to paste.

<!-- not run: COMMAND stands for any command, and completion is installed into the user's shell -->
```
cascade-clip --version
cascade-clip --verbose COMMAND ...     # details, and the trace of every error
cascade-clip --install-completion      # Tab completes commands and options in bash, zsh, fish and PowerShell; open a new terminal
cascade-clip --show-completion         # the same as text, to put it into a start file yourself
```

Results go to standard output; the log and errors go to standard error. An error that you can mend is one sentence there, and names the file,
option or address as you gave it, to copy. [exit_codes.md](exit_codes.md) explains exit statuses. With `--json`, a command prints JSON for programs.
"""
TABLE = "\n| command | what it does | JSON |\n|---|---|---|\n"


def page() -> str:
    """Return the text of the page: a table for each group, with a line for each command."""
    return HEAD + "".join(map(_section, GROUPS))


def _section(group: Group) -> str:
    title = (
        f"\n## `{' '.join(group.path)}`: {group.help}\n" if group.path else "\n## Commands that stand alone\n"
    )
    return title + TABLE + "".join(_line(group, *command[:2]) for command in group.commands)


def _line(group: Group, name: str, function: object) -> str:
    help_text = inspect.getdoc(function) or ""
    summary = " ".join(help_text.partition("\n\n")[0].split()).replace("|", "\\|")
    takes_json = "as_json" in inspect.signature(function).parameters  # type: ignore[arg-type]
    return f"| `{' '.join([*group.path, name])}` | {summary} | {'`--json`' if takes_json else ''} |\n"


if __name__ == "__main__":
    with new_file(FILE) as path:
        path.write_text(page(), encoding="utf-8")
