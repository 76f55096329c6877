"""What processes of a TrainJob leave: sentences of what they refuse, and the output of the one that failed first."""

import os
from pathlib import Path

import pytest

from cascade_core.errors import UserError
from components.launching import last_words
from components.servers.patience import AwayError
from components.storage.lease import FolderInUseError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv(last_words.FOLDER_VARIABLE, str(tmp_path / "words"))
    return tmp_path / "words"


def test_a_refusal_is_left_without_secrets_and_raised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    last_words.leave(UserError("no"), "no recipe planted")
    with pytest.raises(last_words.RefusalError, match=r"^no recipe \*\*\*$"):
        last_words.raise_refusal(folder)
    assert [path.name.rpartition("-")[2] for path in folder.iterdir()] == ["3.json"]


def _of_the_disk() -> UserError:
    error = UserError("the volume: stale handle")
    error.__cause__ = OSError(116, "stale")
    return error


@pytest.mark.parametrize(
    "error",
    [
        AwayError("away"),
        FolderInUseError("in use"),
        _of_the_disk(),
        OSError("no space"),
        RuntimeError("ours"),
    ],
)
def test_what_may_pass_is_no_refusal(folder: Path, error: Exception) -> None:
    last_words.leave(error, str(error))
    last_words.raise_refusal(folder)
    assert not folder.exists()


def test_without_a_job_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(last_words.FOLDER_VARIABLE)
    last_words.leave(UserError("no"), "no")
    assert not folder.exists()


def test_a_killed_process_is_quoted_by_what_was_written_last(tmp_path: Path) -> None:
    assert last_words.last_lines(tmp_path) == []
    for number, name in enumerate(("old", "new")):
        place = tmp_path / f"none_{name}" / "attempt_0" / "0"
        place.mkdir(parents=True)
        (place / "stderr.log").write_text("")
        (place / "stdout.log").write_text("".join(f"{name} {line}\n" for line in range(50)))
        for file in place.iterdir():
            os.utime(file, (number, number))
    assert last_words.last_lines(tmp_path) == [f"new {line}" for line in range(30, 50)]
