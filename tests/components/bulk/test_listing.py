"""Lists of pictures from everything that holds some, and the pictures behind their addresses."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from cascade_core.bulk.outcomes import PictureError
from cascade_core.errors import UserError
from components.bulk.listing import addresses
from components.bulk.sources import ListedPicture, Store


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two files named like pictures, which is the working folder's."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.png", "photos/sub/a.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return tmp_path / "photos"


def content(address: str) -> bytes:
    return ListedPicture(0, address, Store()).read()


def test_folders_patterns_and_lists_give_addresses(photos: Path) -> None:
    names = ["photos/b.png", "photos/sub/a.jpg"]
    assert addresses(["photos"]) == names
    assert addresses(["photos/**/*.jpg", "photos/b.png"]) == names[::-1]
    Path("list.txt").write_text("photos/b.png\r\n\nphotos/sub/a.jpg", encoding="utf-8-sig")
    assert addresses([], ["list.txt"]) == names
    parquet.write_table(pa.table({"id": [1, 2], "picture": names}), "list.parquet")
    assert addresses([], ["list.parquet"]) == names
    assert content("photos/b.png") == b"photos/b.png"


def test_members_of_a_tar_are_read_in_place(photos: Path) -> None:
    with tarfile.open("web.tar", "w") as archive:
        archive.add("photos/sub/a.jpg", arcname="./000.jpg")
        archive.add("photos/b.png", arcname="sub/001.png")
        archive.add("photos/b.png", arcname="001.json")
    assert addresses(["web.tar"]) == ["web.tar#000.jpg", "web.tar#sub/001.png"]
    assert content("web.tar#sub/001.png") == b"photos/b.png"
    with pytest.raises(PictureError, match="web.tar: has no member 2.png"):
        content("web.tar#2.png")


def test_a_missing_picture_is_a_fault_of_its_own(photos: Path) -> None:
    picture = ListedPicture(0, "photos/gone.png", Store())
    with pytest.raises(PictureError, match=r"photos/gone.png: cannot be read \(No such file"):
        picture.read()
    assert picture.version is None is picture.current_version()


def test_the_version_changes_with_the_file(photos: Path) -> None:
    picture = ListedPicture(0, "photos/b.png", Store())
    picture.read()
    assert picture.version == picture.current_version() is not None
    Path("photos/b.png").write_text("longer than before")
    assert picture.version != picture.current_version()


def test_lists_that_hold_no_pictures_are_refused(photos: Path) -> None:
    Path("empty.txt").touch()
    Path("bad.txt").write_bytes(b"\xff\xfe")
    Path("photos.tar").write_bytes(b"no tar")
    parquet.write_table(pa.table({"path": ["a.png"]}), "path.parquet")
    parquet.write_table(pa.table({"picture": ["a.png", None]}), "null.parquet")
    Path("text.parquet").write_text("text")
    for given, lists, message in (
        ([], ["empty.txt"], "no picture in empty.txt"),
        ([], ["bad.txt"], "bad.txt: is not UTF-8 text"),
        ([], ["gone.txt"], "gone.txt: No such file"),
        ([], ["path.parquet"], "path.parquet: is no Parquet table with a column picture"),
        ([], ["text.parquet"], "text.parquet: is no Parquet table"),
        ([], ["null.parquet"], "null.parquet: column picture has a row without an address"),
        (["photos.tar"], [], "photos.tar: cannot be read as a tar"),
        (["s3://bucket/web.tar"], [], "tars are read from a disk; fetch it"),
    ):
        with pytest.raises(UserError, match=message):
            addresses(given, lists)
