"""A kill leaves the old folder or the new one, and a system error becomes one sentence that names the file."""

import errno
from pathlib import Path

import pytest

from cascade_core.errors import UserError
from cascade_core.runtime.files import (
    new_file,
    new_folder,
    put_back,
    put_in_place,
    read_json,
    system_errors_as_user_errors,
)


class KilledError(BaseException):
    """Stands for SIGKILL: no `except Exception` sees it."""


def folders(tmp_path: Path) -> tuple[Path, Path]:
    working, target = tmp_path / "working", tmp_path / "target"
    for folder, text in ((working, "new"), (target, "old")):
        folder.mkdir()
        (folder / "file").write_text(text)
    return working, target


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_swap_killed_at_any_moment_loses_neither_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    working, target = folders(tmp_path)
    operations = 0

    def counted(function: object) -> object:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal operations
            operations += 1
            if operations == moment:
                raise KilledError
            return function(*args, **kwargs)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr("cascade_core.runtime.files.shutil.rmtree", counted(lambda *_, **__: None))
        with pytest.raises(KilledError):
            put_in_place(working, target)
    put_back(target)
    assert (target / "file").read_text() == ("new" if moment == 3 else "old")
    assert moment == 3 or (working / "file").read_text() == "new"
    assert not list(tmp_path.glob(".*"))


def test_a_new_folder_first_restores_after_a_killed_swap(tmp_path: Path) -> None:
    _, target = folders(tmp_path)
    target.rename(tmp_path / ".target.replaced")
    with pytest.raises(RuntimeError), new_folder(target):
        raise RuntimeError
    assert (target / "file").read_text() == "old"


def test_a_file_where_a_folder_must_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for make in (new_folder, new_file):
        with (
            pytest.raises(UserError, match=r"file.*: .*; .*(choose another place|move)"),
            make(tmp_path / "file" / "below"),
        ):
            pytest.fail("there is no place")


def test_a_name_that_is_too_long_asks_for_a_shorter_one(tmp_path: Path) -> None:
    for make in (new_folder, new_file):
        with (
            pytest.raises(UserError, match=r"File name too long; choose a shorter name"),
            make(tmp_path / ("x" * 300)) as place,
        ):
            place.write_text("")


def test_an_unreadable_file_is_named_and_the_old_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(UserError, match=r"missing\.txt: No such file or directory; check the path"),
        new_folder(tmp_path / "out"),
    ):
        (tmp_path / "missing.txt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "error", [OSError("without a file"), ConnectionResetError(errno.ECONNRESET, "reset")]
)
def test_a_system_error_without_a_file_is_raised_unchanged(error: OSError) -> None:
    with pytest.raises(OSError) as raised, system_errors_as_user_errors():
        raise error
    assert raised.value is error


def test_a_folder_in_the_place_of_a_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory; a folder stands where a file must be"):
        read_json(tmp_path)
