"""Resume checkpoints: one whole checkpoint can be read whatever happens to the last one, and whenever a kill comes."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade_core.checkpoints.manifest import MANIFEST_FILE
from cascade_core.errors import UserError
from components.results.names import HISTORY_FILE
from components.training.resume_checkpoints import (
    BEFORE,
    CHECKSUMS_FILE,
    NEWEST,
    add_checkpoint,
    newest_checkpoint,
    remove_checkpoints,
)


def write(text: str) -> Callable[[Path], None]:
    def write_files(folder: Path) -> None:
        for name in (MANIFEST_FILE, HISTORY_FILE, "optimizer.safetensors"):
            (folder / name).write_text(text)

    return write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of a training after checkpoints at steps 1, 2 and 3."""
    (tmp_path / "training").mkdir()
    for iteration in (1, 2, 3):
        add_checkpoint(tmp_path / "training", write(f"step {iteration}"))
    return tmp_path / "training"


def _newest(folder: Path) -> str:
    checkpoint = newest_checkpoint(folder)
    assert checkpoint is not None
    return (checkpoint / MANIFEST_FILE).read_text()


def test_the_last_two_stay(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [NEWEST, BEFORE]
    assert _newest(folder) == "step 3"


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": _cut,
    "flipped": _flip,
    "empty": lambda file: file.write_bytes(b""),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("name", [MANIFEST_FILE, "optimizer.safetensors", CHECKSUMS_FILE])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_damage_falls_back_to_the_one_before(
    folder: Path, damage: Callable[[Path], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder / NEWEST / name)
    assert _newest(folder) == "step 2"
    assert "falling back" in caplog.text and f"{NEWEST}/" in caplog.text


def test_a_damaged_checkpoint_is_never_the_one_before(folder: Path) -> None:
    _flip(folder / NEWEST / MANIFEST_FILE)
    assert _newest(folder) == "step 2"
    add_checkpoint(folder, write("step 3 again"))
    _flip(folder / NEWEST / MANIFEST_FILE)
    assert _newest(folder) == "step 2"


def test_without_a_whole_checkpoint_the_user_decides(folder: Path) -> None:
    for name in (NEWEST, BEFORE):
        _cut(folder / name / "optimizer.safetensors")
    with pytest.raises(
        UserError, match=r"resume/optimizer.safetensors is damaged.* start anew with --no-resume"
    ):
        newest_checkpoint(folder)


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / NEWEST).mkdir()
    (tmp_path / NEWEST / MANIFEST_FILE).write_text("old")
    assert _newest(tmp_path) == "old"


def test_no_checkpoint_is_none(folder: Path) -> None:
    remove_checkpoints(folder)
    assert newest_checkpoint(folder) is None and list(folder.iterdir()) == []


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def _operations(monkeypatch: pytest.MonkeyPatch, kill_at: int | None) -> list[str]:
    """Count renames and removals, and kill the process before number `kill_at`."""
    log: list[str] = []
    for owner, name in ((Path, "rename"), (Path, "unlink"), (tempfile, "mkdtemp"), (shutil, "rmtree")):
        original = getattr(owner, name)

        def operation(
            *args: object, _original: Callable[..., object] = original, _name: str = name, **kw: object
        ) -> object:
            if len(log) == kill_at:
                raise Killed
            log.append(_name)
            return _original(*args, **kw)

        monkeypatch.setattr(owner, name, operation)
    return log


def test_a_kill_at_any_file_operation_leaves_a_whole_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    with monkeypatch.context() as patched:
        log = _operations(patched, None)
        add_checkpoint(copy, write("step 4"))
        count = len(log)
    assert count >= 5
    for kill_at in range(count):
        shutil.rmtree(copy)
        shutil.copytree(folder, copy)
        with monkeypatch.context() as patched:
            _operations(patched, kill_at)
            with pytest.raises(Killed):
                add_checkpoint(copy, write("step 4"))
        assert _newest(copy) in ("step 3", "step 4")
        add_checkpoint(copy, write("step 5"))
        assert _newest(copy) == "step 5"
        remove_checkpoints(copy)
        assert list(copy.iterdir()) == []
