"""The command of a step: its options are those of the statement, and its arguments come back from them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import options
from pipelines.cli.from_step import command_of
from tests.components.contract.test_step import mix


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> tuple[typer.Typer, dict[str, Any]]:
    """Give a program with one command, and the arguments that its step receives."""
    got: dict[str, Any] = {}
    app = typer.Typer()
    app.command()(command_of(mix))
    monkeypatch.setitem(vars(mix), "function", lambda _call, **arguments: got.update(arguments))
    return app, got


def test_options_become_the_arguments_of_the_step(app: tuple[typer.Typer, dict[str, Any]]) -> None:
    program, got = app
    words = mix.words(
        {
            "pots": [Path("a"), Path("b")],
            "sets": {"train": "x", "val": "y"},
            "shares": (2, 3),
            "slowly": True,
            "overrides": {"train.iterations": 20},
            "out": Path("o"),
        }
    )
    done = CliRunner().invoke(program, words)
    assert done.exit_code == 0, done.output
    assert got == {
        "pots": (Path("a"), Path("b")),
        "lid": None,
        "sets": {"train": "x", "val": "y"},
        "shares": (2, 3),
        "slowly": True,
        "overrides": {"train.iterations": 20},
        "out": Path("o"),
    }


def test_an_option_left_out_has_the_default_of_the_statement(app: tuple[typer.Typer, dict[str, Any]]) -> None:
    program, got = app
    done = CliRunner().invoke(program, ["--pot", "a", "--out", "o"])
    assert done.exit_code == 0, done.output
    assert (got["sets"], got["shares"], got["slowly"], got["overrides"]) == (None, (1,), False, {})


def test_a_required_option_is_asked_for(app: tuple[typer.Typer, dict[str, Any]]) -> None:
    done = CliRunner().invoke(app[0], ["--out", "o"])
    assert done.exit_code == 2 and "--pot" in done.output


@pytest.mark.parametrize(
    ("words", "default", "expected"),
    [
        (["--threads", "3"], "free", 3),
        ([], "free", "free cores"),
        ([], "usable", None),
        (["--threads", "3"], "usable", 3),
    ],
)
def test_a_step_that_computes_takes_threads(
    monkeypatch: pytest.MonkeyPatch, words: list[str], default: str, expected: int | str | None
) -> None:
    used: list[int | str] = []
    monkeypatch.setattr(options, "use_threads", used.append)
    monkeypatch.setattr(options, "use_free_cores", lambda: used.append("free cores"))
    monkeypatch.setitem(vars(mix), "threads", default)
    monkeypatch.setitem(vars(mix), "function", lambda _call, **arguments: None)
    app = typer.Typer()
    app.command()(command_of(mix))
    done = CliRunner().invoke(app, ["--pot", "a", "--out", "o", *words])
    assert done.exit_code == 0, done.output
    assert used == ([] if expected is None else [expected])


def test_a_step_that_does_not_compute_takes_no_threads(app: tuple[typer.Typer, dict[str, Any]]) -> None:
    assert CliRunner().invoke(app[0], ["--pot", "a", "--out", "o", "--threads", "3"]).exit_code == 2


BEFORE_TORCH = """
import os, sys
from pipelines.cli import options
from pipelines.cli.app import app
options.use_free_cores = lambda: os._exit(7 if "torch" in sys.modules else 5)
app()
"""


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "a.jpg", "--labels", "zebra"],
        ["evaluate", "--checkpoint", "a", "--split", "val", "--out", "o"],
    ],
    ids=lambda words: words[0],
)
def test_threads_are_chosen_before_torch_is_imported(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", BEFORE_TORCH, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
