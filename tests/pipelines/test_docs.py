"""Each command in README and docs exists, with options that exist."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from tests.cli_commands import command_at

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^|(?<=--no-python ))cascade-clip (?:[^'\n]|'[^']*')*", re.MULTILINE)
COMMENT = re.compile(r"\s+# .*$", re.MULTILINE)


def commands(document: Path) -> list[str]:
    """Give the commands of the blocks of a document, each on one line, without comments."""
    blocks = (COMMENT.sub("", block).replace("\\\n", " ") for block in BLOCK.findall(document.read_text()))
    return [command for block in blocks for command in COMMAND.findall(block)]


DOCUMENTS = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.name != "extending.md" and commands(path)  # run whole by tests/test_extending.py
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_docs_parse(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_ENDPOINT", "http://localhost:8080")
    for line in commands(document):
        left_out = line.rstrip().endswith("...")
        words = shlex.split(line.rstrip().removesuffix("..."))[1:]
        words = list(takewhile(lambda word: word not in (">", "|"), words))
        if "--help" in words:
            continue
        command, path = command_at(), []
        options = {option for parameter in command.params for option in parameter.opts}
        while words and words[0] in options:  # the program's own
            words = words[1:]
        if not words or words[0] == "COMMAND":
            continue
        while words and words[0] in getattr(command, "commands", {}):
            name, *words = words
            path.append(name)
            command = command_at(*path)
        assert not hasattr(command, "commands"), f"{line}: {words[:1]} is no command"
        try:
            command.make_context(name, words)
        except Exception as error:
            # What is left out may be something that must be given.
            if not (left_out and type(error).__name__ == "MissingParameter"):
                raise AssertionError(f"{line}: {error!r}") from error


def test_the_docs_name_commands_at_all() -> None:
    assert sum(len(commands(path)) for path in DOCUMENTS) > 40
