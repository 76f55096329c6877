"""A program: run commands as if packages were not installed, and print each exit code and output as JSON.

`python without_packages.py < REQUEST` reads JSON: the modules that are not there (`modules`), and command lines
(`commands`).
"""

import json
import sys
from typing import Any


class Without:
    """A finder of modules that hides some from another finder."""

    def __init__(self, finder: Any, hidden: frozenset[str]) -> None:
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.hidden:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def outcomes(commands: list[list[str]]) -> list[list[object]]:
    from typer.testing import CliRunner

    from pipelines.cli.app import app

    results = [CliRunner().invoke(app, words) for words in commands]
    # A trace is printed by Python, after typer.
    return [[result.exit_code, result.output, repr(result.exception)] for result in results]


def helps() -> list[list[str]]:
    from pipelines.cli.table import GROUPS

    return [[*group.path, command.name, "--help"] for group in GROUPS for command in group.commands]


if __name__ == "__main__":
    request = json.load(sys.stdin)
    hidden = frozenset(request["modules"])
    sys.meta_path[:] = [Without(finder, hidden) for finder in sys.meta_path]
    import cascade_clip

    pictures = [str(path) for path in cascade_clip.example_pictures()]
    answer = {"helps": outcomes(helps()), "commands": outcomes([[*words] for words in request["commands"]])}
    try:
        cascade_clip.evaluate("mini", ".")
    except cascade_clip.UserError as error:
        answer["evaluate"] = str(error)
    answer["slow"] = sorted({"torch._dynamo", "sympy"} & set(sys.modules))
    answer["imported"] = sorted(hidden & {name.partition(".")[0] for name in sys.modules})
    print(json.dumps(answer))
