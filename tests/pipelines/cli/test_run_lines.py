"""A run that is followed: a table on a terminal, whose rows change in place, and lines elsewhere."""

import io
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.cli import run_lines
from pipelines.kubeflow import submit
from pipelines.kubeflow.run_steps import Step
from pipelines.kubeflow.specification import Stated
from pipelines.kubeflow.submit import RunStatus

STARTED = datetime(2026, 11, 28, 20, tzinfo=UTC)
REASON = ["exit status 1", "ValueError: no such recipe"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(name: str, state: str, seconds: int = 5) -> Step:
    ended = STARTED + timedelta(seconds=seconds)
    return Step(name, "", state, STARTED, ended, f"node-{name}", False, Stated(name, ()))


def run(state: str, *steps: Step) -> RunStatus:
    return RunStatus("run-1", "nightly", state, "http://here/#/runs/details/run-1", steps)


STATES = [
    run("RUNNING", step("prepare", "RUNNING")),
    run("RUNNING", step("prepare", "SUCCEEDED"), step("train", "RUNNING")),
    run("FAILED", step("prepare", "SUCCEEDED"), step("train", "FAILED", 75), step("report", "OMITTED")),
]
LAST = """\
SUCCEEDED  prepare       5 s
FAILED     train    1 m 15 s  exit status 1
           | ValueError: no such recipe
OMITTED    report
FAILED     nightly  http://here/#/runs/details/run-1
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer for the server why a step failed, and note the steps that it was asked about."""
    names: list[str] = []

    def explain(cluster: Any, run_id: str, failed: Step) -> list[str]:
        names.append(failed.name)
        return REASON

    monkeypatch.setattr(submit, "explain", explain)
    return names


def test_a_terminal_shows_a_table_that_changes_in_place(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    last = run_lines.show_run(None, STATES)  # type: ignore[arg-type]
    assert last is STATES[-1] and asked == ["train"]
    lines = screen(terminal.getvalue())
    assert [line.rstrip() for line in lines] == LAST.splitlines()


def test_a_low_terminal_leaves_out_what_succeeded(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    many = [step(f"prepare-{number}", "SUCCEEDED") for number in range(9)]
    states = [
        run("RUNNING", *many, step("train", "RUNNING")),
        run("SUCCEEDED", *many, step("train", "SUCCEEDED")),
    ]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "5"}.items():
        monkeypatch.setenv(name, value)
    run_lines.show_run(None, states[:1])  # type: ignore[arg-type]
    lines = screen(terminal.getvalue())
    assert lines[0].startswith("9 steps have succeeded") and [line.split()[1] for line in lines[1:]] == [
        "train",
        "nightly",
    ]
    terminal.truncate(0)
    run_lines.show_run(None, states)  # type: ignore[arg-type]
    assert all(f"prepare-{number} " in terminal.getvalue() for number in range(9))


def test_elsewhere_each_change_is_a_line(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO)
    run_lines.show_run(None, [STATES[0], *STATES])  # type: ignore[arg-type]
    states = [tuple(line.split()[:2]) for line in caplog.messages]
    assert states == [
        ("RUNNING", "prepare"), ("SUCCEEDED", "prepare"), ("RUNNING", "train"), ("FAILED", "train"), ("|", "ValueError:"),
        ("OMITTED", "report"),
    ]  # fmt: skip


def screen(text: str) -> list[str]:
    """Return what a terminal shows after the text: it moves the cursor up, clears lines and overwrites them."""
    lines, row, rest = [""], 0, text
    while rest:
        if rest.startswith("\x1b["):
            end = next(index for index, letter in enumerate(rest[2:], 2) if letter.isalpha())
            match rest[end], rest[2:end]:
                case "A", number:
                    row = max(0, row - int(number or 1))
                case "K", _:
                    lines[row] = ""
            rest = rest[end + 1 :]
        elif rest[0] == "\n":
            row, rest = row + 1, rest[1:]
            lines += [""] * (row + 1 - len(lines))
        elif rest[0] == "\r":
            rest = rest[1:]
        else:
            lines[row], rest = lines[row] + rest[0], rest[1:]
    return [line for line in lines if line.strip()]
