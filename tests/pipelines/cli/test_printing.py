"""What machines read: JSON on standard output, the version, completion, and the page of all commands."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.inputs import preflight
from components.results import accepted
from pipelines.cli import commands_page
from pipelines.cli.app import app
from pipelines.cli.printing import print_json
from pipelines.cli.table import GROUPS

PROGRAM = str(Path(sys.executable).parent / "cascade-clip")


def run(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def complete(line: str) -> list[str]:
    """Return what Tab offers in bash at the end of a line."""
    variables = {
        "_CASCADE_CLIP_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    done = subprocess.run(
        [PROGRAM], env={**os.environ, **variables}, check=False, capture_output=True, text=True
    )
    return done.stdout.split()


def test_the_version_is_the_installed_one() -> None:
    assert run("--version") == f"cascade-clip {metadata.version('cascade-clip-workflow')}\n"


def test_tab_completes_commands_and_options() -> None:
    assert set(complete("cascade-clip pre")) == {"predict", "prepare", "preflight", "pretrain"}
    assert set(complete("cascade-clip predict --lab")) == {"--labels", "--labels-file"}


def test_json_has_letters_as_they_are_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "тигр"})
    assert "тигр" in capsys.readouterr().out
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))


def test_reruns_are_listed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    old = accepted.RecordedRerun("a", when, None, "first", True, "train")
    new = accepted.RecordedRerun("b", when, "c0ffee", "regressed", False, "train")
    monkeypatch.setattr(accepted, "history", lambda: [old, new])
    first, second = json.loads(run("benchmark", "history", "--json"))
    assert (first["run_id"], first["when"], first["current"]) == ("a", "2026-01-02T00:00:00+00:00", True)
    assert (second["outcome"], second["commit"], second["current"]) == ("regressed", "c0ffee", False)


def test_a_preflight_is_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    report = preflight.Preflight("mini-18-6", ("classes agree",), ())
    monkeypatch.setattr(preflight, "preflight", lambda **_: report)
    assert json.loads(run("preflight", "--json")) == {
        "protocol": "mini-18-6",
        "passed": ["classes agree"],
        "notes": [],
    }


def test_the_page_has_a_line_for_every_command() -> None:
    text = commands_page.FILE.read_text()
    assert text == commands_page.page(), "run `make generated`"
    assert commands_page.SUMMARIES_FILE.read_text() == commands_page.summaries(), "run `make generated`"
    listed = re.findall(r"^\| `([\w -]+)` \| (.+?) \|", text, re.MULTILINE)
    assert [name for name, _ in listed] == [
        " ".join([*group.path, command.name]) for group in GROUPS for command in group.commands
    ]
    for name, summary in listed:
        first = run(*name.split(), "--help").partition("\n\n")[2].split("\n\n")[0]
        assert " ".join(first.split()) == summary
