"""Huge files: an interrupted transfer goes on within the file, and nothing wrong comes of what it left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import IncompleteReadError

from components.progress import Progress
from components.storage import parts
from components.storage import transfer as storage
from components.storage.s3 import connect
from components.storage.transfer import Moved
from tests.components.moto_server import BUCKET, object_store

PART, SIZE = 1000, 7500
URI, KEY = "s3://bucket/huge", "huge"


@pytest.fixture(scope="module")
def _connected() -> Iterator[Any]:
    """One client for all tests: making one costs more than what they do with it."""
    with pytest.MonkeyPatch.context() as patch, object_store(patch):
        patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
        yield connect()


@pytest.fixture
def client(_connected: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bucket, emptied, and parts of a kilobyte that are moved one after the other."""
    monkeypatch.setattr(storage, "connect", lambda: _connected)
    monkeypatch.setattr(storage, "PART_BYTES", PART)
    monkeypatch.setattr(storage, "THREADS", 1)
    for item in _connected.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        _connected.delete_object(Bucket=BUCKET, Key=item["Key"])
    return _connected


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge.bin"
    path.write_bytes(np.random.default_rng(0).bytes(SIZE))
    return path


@contextmanager
def _watched(client: Any, call: str, *, stop_at: int = 0) -> Iterator[list[dict[str, Any]]]:
    """Note the parameters of a call of S3, and stop at one of them as Ctrl-C would."""
    seen: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        if call == "GetObject" and "Range" not in params:
            return  # of the note, not of the file
        seen.append(params)
        if len(seen) == stop_at:
            raise KeyboardInterrupt

    client.meta.events.register(f"provide-client-params.s3.{call}", note)
    try:
        yield seen
    finally:
        client.meta.events.unregister(f"provide-client-params.s3.{call}", note)


def _interrupted_store(client: Any, huge: Path, *, at: int) -> None:
    with _watched(client, "UploadPart", stop_at=at), pytest.raises(KeyboardInterrupt):
        storage.store(huge, URI)


def _interrupted_fetch(client: Any, to: Path, *, at: int) -> Path:
    with _watched(client, "GetObject", stop_at=at), pytest.raises(KeyboardInterrupt):
        storage.fetch(URI, to)
    (partial,) = to.parent.glob(f".{to.name}.*")
    return partial


def _left(client: Any) -> tuple[list[str], list[str]]:
    """Give the names of objects and of unfinished uploads."""
    objects = [item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())]
    return objects, [one["Key"] for one in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


def _missing(client: Any) -> list[int]:
    """Give the numbers of the parts that the unfinished upload lacks."""
    (upload,) = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    there = client.list_parts(Bucket=BUCKET, Key=KEY, UploadId=upload["UploadId"])["Parts"]
    return [number for number in range(1, 9) if number not in {part["PartNumber"] for part in there}]


def test_an_interrupted_store_shows_nothing_and_sends_only_the_parts_that_are_missing(
    client: Any, huge: Path, tmp_path: Path
) -> None:
    _interrupted_store(client, huge, at=4)
    assert _left(client) == ([f"{KEY}.uploading"], [KEY])
    missing = _missing(client)
    assert missing[-3:] == [6, 7, 8]
    with _watched(client, "UploadPart") as sent:
        assert storage.store(huge, URI) == Moved(1, SIZE, kept=0)
    assert [one["PartNumber"] for one in sent] == missing
    assert _left(client) == ([KEY], [])
    storage.fetch(URI, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == huge.read_bytes()
    assert storage.store(huge, URI).kept == 1


def test_a_file_that_changed_since_is_sent_anew(client: Any, huge: Path, tmp_path: Path) -> None:
    _interrupted_store(client, huge, at=4)
    huge.write_bytes(huge.read_bytes()[:-1] + b"x")
    with _watched(client, "UploadPart") as sent:
        storage.store(huge, URI)
    assert len(sent) == 8
    assert _left(client) == ([KEY], [])
    storage.fetch(URI, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == huge.read_bytes()


def test_a_part_that_is_not_the_files_is_sent_again(client: Any, huge: Path, tmp_path: Path) -> None:
    _interrupted_store(client, huge, at=4)
    (upload,) = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    client.upload_part(Bucket=BUCKET, Key=KEY, UploadId=upload["UploadId"], PartNumber=2, Body=b"x" * PART)
    missing = _missing(client)
    with _watched(client, "UploadPart") as sent:
        storage.store(huge, URI)
    assert [one["PartNumber"] for one in sent] == [2, *missing]
    storage.fetch(URI, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == huge.read_bytes()


def test_an_upload_that_the_store_dropped_is_begun_anew(client: Any, huge: Path) -> None:
    _interrupted_store(client, huge, at=4)
    (upload,) = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    client.abort_multipart_upload(Bucket=BUCKET, Key=KEY, UploadId=upload["UploadId"])
    storage.store(huge, URI)
    assert _left(client) == ([KEY], [])


def test_an_interrupted_fetch_shows_nothing_and_asks_only_for_what_is_missing(
    client: Any, huge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.store(huge, URI)
    to = tmp_path / "there" / "back"
    partial = _interrupted_fetch(client, to, at=4)
    assert not to.exists()
    assert partial.read_bytes() == huge.read_bytes()[: 3 * PART]
    shown: list[int] = []
    advance = Progress.advance
    monkeypatch.setattr(
        Progress, "advance", lambda self, done, *rest: (shown.append(done), advance(self, done, *rest))
    )
    monkeypatch.setattr(storage, "MEBIBYTE", 1)
    with _watched(client, "GetObject") as asked:
        assert storage.fetch(URI, to) == Moved(1, SIZE, kept=0)
    assert [one["Range"] for one in asked] == [
        "bytes=3000-3999", "bytes=4000-4999", "bytes=5000-5999", "bytes=6000-6999", "bytes=7000-7499"
    ]  # fmt: skip
    assert shown == [3000, 4000, 5000, 6000, 7000, 7500]
    assert to.read_bytes() == huge.read_bytes()
    assert [path.name for path in to.parent.iterdir()] == ["back"]


def test_what_was_fetched_of_another_content_is_dropped(client: Any, huge: Path, tmp_path: Path) -> None:
    storage.store(huge, URI)
    partial = _interrupted_fetch(client, tmp_path / "back", at=4)
    huge.write_bytes(huge.read_bytes()[::-1])
    storage.store(huge, URI)
    storage.fetch(URI, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == huge.read_bytes()
    assert not partial.exists()


def test_a_damaged_beginning_is_found_out_and_not_gone_on_with(
    client: Any, huge: Path, tmp_path: Path
) -> None:
    storage.store(huge, URI)
    partial = _interrupted_fetch(client, tmp_path / "back", at=4)
    partial.write_bytes(b"x" * 3 * PART)
    with pytest.raises(ValueError, match="did not arrive as it was stored"):
        storage.fetch(URI, tmp_path / "back")
    assert not (tmp_path / "back").exists() and not partial.exists()
    storage.fetch(URI, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == huge.read_bytes()


def test_parts_of_two_contents_never_meet(
    client: Any, huge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.store(huge, URI)

    body = parts._body

    def changed(*arguments: Any, **request: Any) -> bytes:
        if request["Range"].startswith("bytes=3000"):
            client.put_object(Bucket=BUCKET, Key=KEY, Body=b"y" * SIZE)
        return body(*arguments, **request)

    monkeypatch.setattr(parts, "_body", changed)
    with pytest.raises(ValueError, match="it was changed while it was fetched; fetch it again"):
        storage.fetch(URI, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_large_file_of_a_folder_goes_on_where_it_stopped(client: Any, huge: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    huge = huge.rename(tmp_path / "folder" / "huge.bin")
    storage.store(tmp_path / "folder", "s3://bucket/data")
    with _watched(client, "GetObject", stop_at=4), pytest.raises(KeyboardInterrupt):
        storage.fetch("s3://bucket/data", tmp_path / "back")
    with _watched(client, "GetObject") as asked:
        storage.fetch("s3://bucket/data", tmp_path / "back")
    assert len(asked) == 5
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["huge.bin"]
    assert (tmp_path / "back" / "huge.bin").read_bytes() == huge.read_bytes()


def test_an_answer_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FIRST_PAUSE", 0.0)

    def broken() -> bytes:
        raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

    answers: list[Callable[[], bytes]] = [broken, broken, lambda: b"ab"]

    class Store:
        def get_object(self, **_: Any) -> dict[str, Any]:
            return {"Body": type("Body", (), {"read": staticmethod(answers.pop(0))})}

    assert parts._body(Store(), Key=KEY) == b"ab"
    answers.extend([broken] * 9)
    with pytest.raises(IncompleteReadError):
        parts._body(Store(), Key=KEY)
