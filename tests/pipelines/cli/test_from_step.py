"""The command of a step: its options are those of the statement, and its arguments come back from them."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

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
