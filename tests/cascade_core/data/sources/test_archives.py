"""Unpacking: the files, resuming, and the refusal of hostile and broken archives."""

import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from cascade_core.data.sources.archives import unpack
from tests.official_files import write_tar, write_zip

FILES = {"root/a.txt": b"first" * 999, "root/deep/b.txt": b"second", "other/c.txt": b"third"}


def keep(member: PurePosixPath) -> PurePosixPath | None:
    return member.relative_to("root") if member.is_relative_to("root") else None


def written(name: str, folder: Path) -> Path:
    write = write_zip if name.endswith(".zip") else write_tar
    return write(folder / name, FILES)


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_wanted_members_are_unpacked_to_their_places(name: str, tmp_path: Path) -> None:
    assert unpack(written(name, tmp_path), tmp_path / "out", keep) == 2
    assert content(tmp_path / "out") == {"a.txt": FILES["root/a.txt"], "deep/b.txt": b"second"}


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_second_call_writes_missing_and_incomplete_files_only(name: str, tmp_path: Path) -> None:
    archive, out = written(name, tmp_path), tmp_path / "out"
    unpack(archive, out, keep)
    (out / "a.txt").write_bytes(b"cut short")
    before = (out / "deep" / "b.txt").stat().st_mtime_ns
    steps: list[tuple[int, int]] = []
    unpack(archive, out, keep, progress=lambda *step: steps.append(step))
    assert content(out)["a.txt"] == FILES["root/a.txt"]
    assert (out / "deep" / "b.txt").stat().st_mtime_ns == before
    assert steps == [(2, 2)]


def add(archive: Path, info: tarfile.TarInfo) -> Path:
    with tarfile.open(archive, "a") as tar:
        tar.addfile(info, io.BytesIO(b"x" * info.size))
    return archive


def climbing(folder: Path) -> Path:
    return write_tar(folder / "a.tar", FILES | {"root/../../stolen": b"x"})


def absolute(folder: Path) -> Path:
    return write_tar(folder / "a.tar", FILES | {"/tmp/stolen": b"x"})


def windows(folder: Path) -> Path:
    return write_zip(folder / "a.zip", FILES | {"C:stolen": b"x"})


def climbing_zip(folder: Path) -> Path:
    return write_zip(folder / "a.zip", FILES | {"../stolen": b"x"})


def linked(kind: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        info = tarfile.TarInfo("root/link")
        info.type, info.linkname = kind, "/etc/passwd"
        return add(write_tar(folder / "a.tar", FILES), info)

    return write


def device(folder: Path) -> Path:
    info = tarfile.TarInfo("root/null")
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
    return add(write_tar(folder / "a.tar", FILES), info)


def linked_zip(folder: Path) -> Path:
    info = zipfile.ZipInfo("root/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(folder / "a.zip", "w") as opened:
        opened.writestr(info, "/etc/passwd")
    return folder / "a.zip"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (climbing, "1 members leave the folder: 'root/../../stolen'"),
        (absolute, "1 members leave the folder: '/tmp/stolen'"),
        (windows, "1 members leave the folder: 'C:stolen'"),
        (climbing_zip, "1 members leave the folder: '../stolen'"),
        (linked(tarfile.SYMTYPE), r"neither files nor folders: 'root/link' \(link\)"),
        (linked(tarfile.LNKTYPE), r"neither files nor folders: 'root/link' \(link\)"),
        (linked_zip, r"neither files nor folders: 'root/link' \(link or device\)"),
        (device, r"neither files nor folders: 'root/null' \(device\)"),
    ],
)
def test_one_hostile_member_refuses_the_whole_archive(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"a\\.(tar|zip): .*{message}.*nothing was unpacked"):
        unpack(write(tmp_path), tmp_path / "out", keep)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
@pytest.mark.parametrize("kept", [0.5, 0.6])
def test_a_truncated_archive_is_an_error_that_names_it(name: str, kept: float, tmp_path: Path) -> None:
    archive = written(name, tmp_path)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=rf"{name} is cut short or damaged \(.*fetch it again"):
        unpack(archive, tmp_path / "out", keep)


def test_a_tar_truncated_between_two_members_is_refused(tmp_path: Path) -> None:
    archive = written("a.tar", tmp_path)
    with tarfile.open(archive) as tar:
        start_of_last = tar.getmembers()[-1].offset
    archive.write_bytes(archive.read_bytes()[:start_of_last])
    with pytest.raises(ValueError, match="cut short or damaged"):
        unpack(archive, tmp_path / "out", keep)


def test_a_zip_with_altered_content_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("root/a.txt", b"payload")
    archive.write_bytes(archive.read_bytes().replace(b"payload", b"pAyload"))
    with pytest.raises(ValueError, match=r"a\.zip is cut short or damaged \(.*CRC"):
        unpack(archive, tmp_path / "out", keep)
    assert content(tmp_path / "out") == {}


def test_an_archive_larger_than_the_free_space_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(ValueError, match=r"unpacks to 5,001 bytes, .* has room for 100"):
        unpack(written("a.tar", tmp_path), tmp_path / "out", keep)
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_an_archive_of_many_times_its_size_is_refused(name: str, tmp_path: Path) -> None:
    content = {f"root/{number}": bytes(2**24) for number in range(5)}
    write = write_zip if name == "a.zip" else write_tar
    with pytest.raises(ValueError, match=r"unpacks to more than 67,108,864 bytes.*nothing was unpacked"):
        unpack(write(tmp_path / name, content), tmp_path / "out", keep)
    assert not (tmp_path / "out").exists()


def test_two_members_of_one_name_refuse_the_archive(tmp_path: Path) -> None:
    archive = add(write_tar(tmp_path / "a.tar", FILES), tarfile.TarInfo("root/a.txt"))
    with pytest.raises(ValueError, match=r"a\.txt.*stands for both root/a\.txt and root/a\.txt"):
        unpack(archive, tmp_path / "out", keep)


@pytest.mark.parametrize("size", [-512, 2**33])
def test_a_header_with_an_impossible_size_is_damage(size: int, tmp_path: Path) -> None:
    info = tarfile.TarInfo("root/long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(ValueError, match=f"cut short or damaged .*states a size of {size} bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "out", keep)
