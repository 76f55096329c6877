"""Only what a command of this project wrote is replaced; links are followed, and special files are refused."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, new_folder
from cascade_core.runtime.targets import written_by

STEP = {"step": "splits", "content_sha256": "0" * 64}


def folder_with(path: Path, manifest: object) -> Path:
    path.mkdir()
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def write_folder(target: Path) -> None:
    with new_folder(target) as folder:
        (folder / "new").touch()


@pytest.mark.parametrize(
    "manifest",
    [{"name": "thesis"}, {"step": "splits"}, [], 3, {"format": 1}, {"step": 1, "content_sha256": ""}],
)
def test_a_folder_of_somebody_is_not_replaced(tmp_path: Path, manifest: object) -> None:
    folder = folder_with(tmp_path / "thesis", manifest)
    with pytest.raises(UserError, match=r"thesis contains files, and no manifest\.json says"):
        write_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]


def test_an_empty_folder_and_one_of_a_step_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", folder_with(tmp_path / "ours", STEP)):
        write_folder(folder)
        assert [path.name for path in folder.iterdir()] == ["new"]


def test_folders_of_this_project_are_known_by_their_manifests(tmp_path: Path) -> None:
    assert written_by(folder_with(tmp_path / "step", STEP)) == "splits"
    assert written_by(folder_with(tmp_path / "final", {"config": {}, "iteration": 3})) == "a checkpoint"
    model = folder_with(tmp_path / "model", {"format": 1})
    (model / "checkpoint").mkdir()
    assert written_by(model) == "a model folder"
    assert written_by(tmp_path / "nowhere") is None


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "folder").symlink_to("big")
    write_folder(tmp_path / "folder")
    (tmp_path / "file").symlink_to("big/file")
    with new_file(tmp_path / "file") as path:
        path.write_text("new")
    assert (tmp_path / "folder").is_symlink() and (tmp_path / "big" / "new").is_file()
    assert (tmp_path / "file").is_symlink() and (tmp_path / "big" / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big", "file", "folder"]


def test_links_that_lead_to_themselves_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for make in (new_folder, new_file):
        with pytest.raises(UserError, match="loop is a link that leads to itself"), make(tmp_path / "loop"):
            pytest.fail("there is no place")


def test_special_files_are_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    listener.close()
    for path, kind in ((Path("/dev/null"), "device"), (Path("pipe"), "pipe"), (Path("socket"), "socket")):
        for make in (new_folder, new_file):
            with pytest.raises(UserError, match=f"{path} is a {kind}, and a "), make(path):
                pytest.fail("there is no place")


@pytest.mark.parametrize("place", [".", "..", "", "/", "/proc"])
def test_folders_that_cannot_move_are_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="is a mount point, or this command runs in it"):
        write_folder(Path(place))
    assert list(tmp_path.iterdir()) == [tmp_path / "here"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
@pytest.mark.parametrize(("read_only", "reason"), [(True, "is read-only"), (False, "check its permissions")])
def test_a_read_only_file_system_is_named(
    read_only: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, flag = os.statvfs(tmp_path), os.ST_RDONLY if read_only else 0
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*status[:8], flag, status[9])))
    with pytest.raises(UserError, match=reason):
        write_folder(tmp_path / "out")


def test_a_file_of_another_command_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "job.yaml"
    for content, refused in (("notes", True), ("kind: Job\nold", False), ("", False)):
        target.write_text(content)
        if refused:
            with pytest.raises(UserError, match="did not write it"), new_file(target, begins=b"kind: Job"):
                pytest.fail("there is no place")
        else:
            with new_file(target, begins=b"kind: Job") as path:
                path.write_text("kind: Job\nnew")
    assert target.read_text() == "kind: Job\nnew"


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as living:
        (living / "file").touch()
        killed = tmp_path / ".out.abcdefgh.writing"
        killed.mkdir()
        (killed / "half").touch()
        other = tmp_path / ".output.abcdefgh.writing"
        other.mkdir()
        write_folder(tmp_path / "out")
        assert not killed.exists() and other.exists() and (living / "file").exists()
