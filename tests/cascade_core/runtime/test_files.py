"""Writing so that a kill at any moment leaves the old folder or the new one."""

from pathlib import Path

import pytest

from cascade_core.runtime.files import new_folder, put_back, put_in_place


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


def test_a_new_folder_first_brings_back_what_a_killed_swap_set_aside(tmp_path: Path) -> None:
    _, target = folders(tmp_path)
    target.rename(tmp_path / ".target.replaced")
    with pytest.raises(RuntimeError), new_folder(target):
        raise RuntimeError
    assert (target / "file").read_text() == "old"
