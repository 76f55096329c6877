"""Every command of the table ends in one sentence for what the user or the machine can mend."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.cli.quoted_paths import paths_of, with_quoted
from pipelines.cli.table import GROUPS
from tests.cli_commands import command_at

EXAMPLES = {
    " ".join([*group.path, command.name]): command.example for group in GROUPS for command in group.commands
}
OUTPUTS = ("--out", "--to", "--work", "--results")
LONG = "x" * 300
UNREADABLE = "/proc/self/mem"
"""It opens, but reading it is an input/output error, as on a broken disk; for root too."""


def words_of(command: str) -> list[str]:
    """Return the words of a command's example, without the program."""
    return shlex.split(EXAMPLES[command])[1:]


def parameters_of(command: str) -> list[typer.core.TyperOption]:
    return command_at(*command.split()).params


def with_value(words: list[str], flag: str, value: str) -> list[str]:
    """Replace or add an option's value; it stands before the `--` of a nested command."""
    if flag in words and "--" not in words:
        position = words.index(flag)
        return [*words[: position + 1], value, *words[position + 2 :]]
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], flag, value, *words[end:]]


def outputs_of(command: str) -> list[str]:
    return [option for parameter in parameters_of(command) for option in parameter.opts if option in OUTPUTS]


def inputs_of(command: str) -> list[str]:
    """Return the flags of a command that name a file or a folder to read."""
    return [
        parameter.opts[0]
        for parameter in parameters_of(command)
        if parameter.opts[0].startswith("--")
        and parameter.opts[0] not in (*OUTPUTS, "--cache")  # would be filled from the network
        and "Path" in str(parameter.type_descriptor.annotation)
    ]


WRITING = [
    pytest.param(command, flag, id=f"{command} {flag}")
    for command in EXAMPLES
    for flag in outputs_of(command)
]
READING = [
    pytest.param(command, flag, id=f"{command} {flag}") for command in EXAMPLES for flag in inputs_of(command)
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each command where nothing is, with a file `afile`; afterwards there is no more."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "afile").write_text("somebody's")
    for name in ("README.md", "params.yaml"):
        shutil.copy(Path(__file__).parents[3] / name, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert (tmp_path / "here" / "afile").read_text() == "somebody's"


def refused(words: list[str]) -> str:
    """Run a command; it must exit with 2 and one sentence, which this returns."""
    done = CliRunner().invoke(app, words)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert isinstance(done.exception, SystemExit) and done.exit_code == 2, (done.exception, done.output)
    assert len(lines) == 1 and "Traceback" not in done.output, done.output
    return lines[0]


def test_every_command_that_writes_is_in_the_list() -> None:
    commands = {command for case in WRITING for command in case.values[:1]}
    reading = {
        "demo",
        "doctor",
        "run",
        "preflight",
        "protocols",
        "prune",
        "recipes",
        "store",
        "record",
        "relocate",
    }
    project = {"fit", "init"}  # test_project_files.py holds what they write
    assert {command for command in EXAMPLES if " " not in command} - commands == reading | project
    assert {"prepare custom", "pipeline compile", "pipeline run-local", "benchmark run"} <= commands


@pytest.mark.parametrize(("command", "flag"), WRITING)
def test_an_output_that_cannot_be_is_refused_first(command: str, flag: str) -> None:
    suffix = ".yaml" if command == "pipeline compile" else ""
    for wrong, reason in (
        (f"afile/below{suffix}", "is a file, and a folder must be there"),
        (f"{LONG}{suffix}", "File name too long; choose a shorter name"),
        ("/dev/null", "is a device|name that ends in .yaml"),
    ):
        sentence = refused(with_value(words_of(command), flag, wrong))
        assert any(part in sentence for part in reason.split("|")), sentence
        assert wrong in sentence, sentence


@pytest.mark.parametrize(("command", "flag"), WRITING)
def test_a_read_only_output_is_refused_first(
    command: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, mode: int) -> bool:
        return not mode & os.W_OK

    monkeypatch.setattr(os, "access", read_only)
    name = "below.yaml" if command == "pipeline compile" else "below"
    assert "takes no files; check its permissions" in refused(with_value(words_of(command), flag, name))


INSTEAD_OF = {
    "text-vectors --names": "--protocol",
    "text-vectors --vectors": "--clip",
    "predict --labels-file": "--labels",
}
"""Inputs that exclude an option of the command's example."""
TOGETHER = {
    "self-train --unlabelled": ("--teacher", "mini"),
    "self-train --teacher": ("--unlabelled", "afile"),
}
SPACED = "no such/thing here"
BY_COMMAND = [
    [
        pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] if place else [])
        for place, case in enumerate(group)
    ]
    for _, group in groupby(READING, key=lambda case: case.values[0])
]
"""Every command's inputs; those after the first one mostly fail at the first."""


def without(words: list[str], flag: str) -> list[str]:
    position = words.index(flag)
    return [*words[:position], *words[position + 2 :]]


def other_inputs(command: str, flag: str, words: list[str]) -> list[str]:
    """Return what else the command reads: the words of its example, and the defaults of its other inputs."""
    flags = {*inputs_of(command), "--clip"} - {flag}
    defaults = [
        str(parameter.default)
        for parameter in parameters_of(command)
        if parameter.opts[0] in flags and parameter.default
    ]
    return [word for word in (*words, *defaults) if word != SPACED and not word.startswith("--")]


@pytest.mark.parametrize(("command", "flag"), [case for group in BY_COMMAND for case in group])
def test_a_missing_input_is_named_as_a_path_to_paste(command: str, flag: str) -> None:
    words, name = words_of(command), f"{command} {flag}"
    if name in INSTEAD_OF:
        words = without(words, INSTEAD_OF[name])
    words = [*with_value(words, flag, SPACED), *TOGETHER.get(name, ())]
    sentence = refused(words)
    parts = [part.rstrip(":;,)`") for part in re.findall(r"'[^']*'|\S+", sentence.replace("`", " "))]
    if "such/thing" in sentence:
        assert any(part.startswith(f"'{SPACED}") for part in parts), sentence
        assert SPACED not in re.sub(r"'[^']*'", "", sentence), sentence
    else:  # another input is missing too, and comes first
        others = other_inputs(command, flag, words)
        assert any(part.startswith(other) for part in parts for other in others), (sentence, others)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", SPACED, "--model", "mini", "--labels", "zebra"],
        ["predict", "afile", "my photo.jpg", "--model", "mini", "--labels", "zebra"],
        ["predict", "examples", "--model", "my model", "--labels", "zebra"],
        ["demo", "--examples", "my photos", "--model", "mini"],
        ["demo", "--model", "my model"],
        ["import-clip", "my weights.pt"],
        ["import-clip", "my weights.pt", "--method", "naclip"],
        ["export", "my model", "--format", "onnx", "--out", "here"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_an_argument_that_may_be_a_name_is_quoted_too(words: list[str]) -> None:
    (path,) = [word for word in words if " " in word]
    sentence = refused(words)
    assert f"'{path}'" in sentence and path not in sentence.replace(f"'{path}'", ""), sentence


@pytest.mark.parametrize("form", ["a b", "a b/c", "it's", "*.jpg", "a&b"])
def test_paths_of_the_command_line_stand_in_quotes(form: str) -> None:
    for sentence, expected in (
        (f"{form}: no such file", f"{shlex.quote(form)}: no such file"),
        (f"in {form}/x.json, {form}.", f"in {shlex.quote(f'{form}/x.json')}, {shlex.quote(form)}."),
        (f"run `prepare --out {form}`", f"run `prepare --out {shlex.quote(form)}`"),
        (f"'{form}' is no protocol", f"'{form}' is no protocol"),
        (f"x{form} and {form}x", f"x{form} and {form}x"),
    ):
        assert with_quoted(sentence, paths_of({"path": Path(form), "seed": 1})) == expected
    assert with_quoted("plain/path: missing", paths_of({"path": "plain/path"})) == "plain/path: missing"


def test_a_working_folder_with_blanks_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my work").mkdir()
    monkeypatch.chdir(tmp_path / "my work")
    sentence = with_quoted(f"{Path('x').resolve()} is missing", paths_of({"path": Path("x")}))
    assert sentence == f"'{tmp_path}/my work/x' is missing"


@pytest.mark.reliability
@pytest.mark.parametrize(("command", "flag"), READING)
def test_an_input_that_cannot_be_read_is_a_sentence(command: str, flag: str) -> None:
    for wrong in ("afile/below", LONG, UNREADABLE):
        refused(with_value(words_of(command), flag, wrong))
