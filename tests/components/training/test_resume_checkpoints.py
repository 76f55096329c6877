"""Resume checkpoints: one whole checkpoint can be read whatever happens to the last one, and whenever a kill comes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade_core.checkpoints.manifest import MANIFEST_FILE
from cascade_core.errors import UserError
from components.training.resume_checkpoints import CHECKSUMS_FILE, add_checkpoint, newest_checkpoint


def write(text: str) -> Callable[[Path], None]:
    def write_files(folder: Path) -> None:
        (folder / MANIFEST_FILE).write_text(text)
        (folder / "optimizer.safetensors").write_bytes(text.encode() * 100)

    return write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder after checkpoints at steps 1, 2 and 3."""
    for iteration in (1, 2, 3):
        add_checkpoint(tmp_path / "resume", iteration, write(f"step {iteration}"))
    return tmp_path / "resume"


def _newest(folder: Path) -> str:
    checkpoint = newest_checkpoint(folder)
    assert checkpoint is not None
    return (checkpoint / MANIFEST_FILE).read_text()


def test_the_last_two_stay(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["step_00000002", "step_00000003"]
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
    damage(folder / "step_00000003" / name)
    assert _newest(folder) == "step 2"
    assert "damaged checkpoint" in caplog.text and "step_00000003/" in caplog.text


def test_training_replaces_a_damaged_checkpoint(folder: Path) -> None:
    _flip(folder / "step_00000003" / MANIFEST_FILE)
    add_checkpoint(folder, 3, write("step 3 again"))
    assert _newest(folder) == "step 3 again"


def test_without_a_whole_checkpoint_the_user_decides(folder: Path) -> None:
    for name in ("step_00000002", "step_00000003"):
        _cut(folder / name / "optimizer.safetensors")
    with pytest.raises(
        UserError, match=r"step_00000003/optimizer.safetensors .* start anew with --no-resume"
    ):
        newest_checkpoint(folder)


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    write("old")(tmp_path)
    assert _newest(tmp_path) == "old"
    add_checkpoint(tmp_path, 5, write("new"))
    assert _newest(tmp_path) == "new" and [path.name for path in tmp_path.iterdir()] == ["step_00000005"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "resume") is None


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def _operations(monkeypatch: pytest.MonkeyPatch, kill_at: int | None) -> list[str]:
    """Count renames and removals, and kill the process before number `kill_at`."""
    log: list[str] = []
    for owner, name in ((Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (shutil, "rmtree")):
        original = getattr(owner, name)

        def operation(
            *args: object, _original: Callable[..., None] = original, _name: str = name, **kw: object
        ) -> None:
            if len(log) == kill_at:
                raise Killed
            log.append(_name)
            _original(*args, **kw)

        monkeypatch.setattr(owner, name, operation)
    return log


def test_a_kill_at_any_file_operation_leaves_a_whole_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    with monkeypatch.context() as patched:
        log = _operations(patched, None)
        add_checkpoint(copy, 4, write("step 4"))
        count = len(log)
    assert count >= 5
    for kill_at in range(count):
        shutil.rmtree(copy)
        shutil.copytree(folder, copy)
        with monkeypatch.context() as patched:
            _operations(patched, kill_at)
            with pytest.raises(Killed):
                add_checkpoint(copy, 4, write("step 4"))
        assert _newest(copy) in ("step 3", "step 4")
        add_checkpoint(copy, 5, write("step 5"))
        assert sorted(path.name for path in copy.iterdir())[-1] == "step_00000005"
        assert len(list(copy.iterdir())) == 2
