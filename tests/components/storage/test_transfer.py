"""Files to and from an object store arrive unchanged and complete, or not at all."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from cascade_core.errors import UserError
from components.progress import Progress
from components.storage import s3
from components.storage import transfer as storage
from components.storage.transfer import Moved
from components.tracking.run_record import record_folders
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from tests.components.moto_server import BUCKET, object_store


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch) as endpoint:
        yield endpoint


@pytest.fixture
def client(endpoint: str) -> Any:
    """A client of the emptied bucket."""
    client = boto3.client("s3")
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    return client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {"a.txt": b"a", "deep/b.bin": bytes(range(256)) * 40, "deep/empty": b""}.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _keys(client: Any) -> set[str]:
    return {item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())}


def _visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_leftovers_of_a_killed_fetch_are_removed(client: Any, folder: Path, tmp_path: Path) -> None:
    storage.store(folder, "s3://bucket/data/mini")
    (tmp_path / "copy").mkdir()
    (tmp_path / ".copy.replaced").mkdir()
    (tmp_path / ".copy.replaced" / "a.txt").write_text("old")
    storage.fetch("s3://bucket/data/mini", tmp_path / "copy")
    assert _content(tmp_path / "copy") == _content(folder)
    assert {path.name for path in tmp_path.glob(".*")} == set()


def test_a_folder_comes_back_unchanged_and_is_moved_once(client: Any, folder: Path, tmp_path: Path) -> None:
    assert storage.store(folder, "s3://bucket/data/mini") == Moved(3, 10241, kept=0)
    assert _keys(client) == {f"data/mini/{name}" for name in (*_content(folder), "_files.json")}
    assert storage.fetch("s3://bucket/data/mini", tmp_path / "back") == Moved(3, 10241, kept=0)
    assert _content(tmp_path / "back") == _content(folder)
    assert storage.store(folder, "s3://bucket/data/mini").kept == 3
    assert storage.fetch("s3://bucket/data/mini/", tmp_path / "back").kept == 3
    assert _content(tmp_path / "back") == _content(folder)


def test_changed_files_are_replaced_and_removed_ones_gone(client: Any, folder: Path, tmp_path: Path) -> None:
    storage.store(folder, "s3://bucket/data")
    storage.fetch("s3://bucket/data", tmp_path / "back")
    (folder / "a.txt").write_text("b")
    (folder / "deep" / "empty").unlink()
    assert storage.store(folder, "s3://bucket/data") == Moved(2, 10241, kept=1)
    assert storage.fetch("s3://bucket/data", tmp_path / "back") == Moved(2, 10241, kept=1)
    assert _content(tmp_path / "back") == _content(folder)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two parts: the first is the smallest that S3 takes, and three megabytes more make a second one."""
    monkeypatch.setattr(storage, "PART_BYTES", 5 * 2**20)
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(256)) * 4 * 8 * 1024)
    return path


def test_a_large_file_is_sent_in_parts_with_its_hash(client: Any, large: Path, tmp_path: Path) -> None:
    storage.store(large, "s3://bucket/weights/")
    head = client.head_object(Bucket=BUCKET, Key="weights/model.safetensors")
    assert head["ETag"].endswith('-2"') and len(head["Metadata"]["sha256"]) == 64
    assert storage.fetch("s3://bucket/weights/model.safetensors", tmp_path / "back") == Moved(
        1, 8 * 2**20, kept=0
    )
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert storage.fetch("s3://bucket/weights/model.safetensors", tmp_path / "back").kept == 1


def test_progress_of_a_large_file_counts_its_bytes(
    client: Any, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(Progress, "advance", lambda self, done, *_: counted.append(done))
    storage.store(large, "s3://bucket/weights/")
    assert len(counted) > 1 and counted == sorted(counted) and counted[-1] == 8


@pytest.mark.slow
def test_an_interrupted_upload_leaves_no_parts(
    client: Any, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", lambda *_: (_ for _ in ()).throw(OSError("stopped")))
        with pytest.raises(OSError, match="stopped"):
            storage.store(large, "s3://bucket/weights/")
    assert _keys(client) == set()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)
    assert storage.store(large, "s3://bucket/weights/").kept == 0


def test_parts_of_two_contents_never_meet(
    client: Any, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.store(large, "s3://bucket/large")

    def changed(params: dict[str, Any], **_: Any) -> None:
        if not params["Range"].startswith("bytes=0-"):
            boto3.client("s3").put_object(Bucket=BUCKET, Key="large", Body=b"y" * 8 * 2**20)

    client.meta.events.register("provide-client-params.s3.GetObject", changed)
    monkeypatch.setattr(s3, "connect", lambda: client)
    with pytest.raises(ValueError, match="it changed during the fetch; fetch it again"):
        storage.fetch("s3://bucket/large", tmp_path / "back")
    assert _visible(tmp_path) == {"model.safetensors"}


def test_an_interrupted_fetch_is_invisible_and_resumable(
    client: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.store(folder, "s3://bucket/data")
    monkeypatch.setattr(storage, "THREADS", 1)
    get, calls = storage._get, []

    def stop_at_third(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        get(*arguments)

    monkeypatch.setattr(storage, "_get", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        storage.fetch("s3://bucket/data", tmp_path / "back")
    assert _visible(tmp_path) == {"folder"}
    assert storage.fetch("s3://bucket/data", tmp_path / "back").kept == 2
    assert _content(tmp_path / "back") == _content(folder)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_interrupted_store_is_refused_and_resumable(
    client: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.store(folder, "s3://bucket/data")
    (folder / "deep" / "b.bin").write_bytes(b"shorter")
    put = storage.json.dumps
    monkeypatch.setattr(storage.json, "dumps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        storage.store(folder, "s3://bucket/data")
    with pytest.raises(
        ValueError, match="is not complete: 1 files are missing or of another size, such as deep/b.bin"
    ):
        storage.fetch("s3://bucket/data", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    monkeypatch.setattr(storage.json, "dumps", put)
    assert storage.store(folder, "s3://bucket/data").kept == 3
    storage.fetch("s3://bucket/data", tmp_path / "back")
    assert _content(tmp_path / "back") == _content(folder)


def test_a_file_changed_in_the_store_is_refused(client: Any, folder: Path, tmp_path: Path) -> None:
    storage.store(folder, "s3://bucket/data")
    client.put_object(Bucket=BUCKET, Key="data/a.txt", Body=b"x")
    with pytest.raises(ValueError, match=r"data/a\.txt did not arrive as it was stored"):
        storage.fetch("s3://bucket/data", tmp_path / "back")
    assert _visible(tmp_path) == {"folder"}


def test_a_name_that_leads_out_of_the_folder_is_refused(client: Any, tmp_path: Path) -> None:
    index = {"files": [{"name": "../evil", "size": 1, "sha256": None}]}
    client.put_object(Bucket=BUCKET, Key="data/_files.json", Body=json.dumps(index).encode())
    with pytest.raises(ValueError, match=r"'\.\./evil' leads out of the folder"):
        storage.fetch("s3://bucket/data", tmp_path / "back")


def test_a_folder_of_other_tools_is_fetched_with_a_warning(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("others/", "others/x", "others/y/z"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"" if key.endswith("/") else b"1")
    storage.fetch("s3://bucket/others", tmp_path / "back")
    assert _content(tmp_path / "back") == {"x": b"1", "y/z": b"1"}
    assert "nothing shows whether it is complete" in caplog.text


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://bucket/nothing", "there is nothing at s3://bucket/nothing"),
        ("s3://other/data", "there is no bucket 'other' in this store"),
        ("https://bucket/data", "is no address of an object store"),
        ("s3:///data", "is no address of an object store"),
    ],
)
def test_an_address_without_data_is_reported(client: Any, tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        storage.fetch(uri, tmp_path / "back")
    assert _visible(tmp_path) == set()


def test_mlflow_stores_artifacts_in_the_same_store(client: Any, store: Path, tmp_path: Path) -> None:
    open_store().create_experiment("mini-18-6", artifact_location="s3://bucket/mlflow")
    (tmp_path / "per_class.csv").write_text("class\ntiger\n")
    with tracked_step("evaluate", protocol="mini-18-6", out=tmp_path) as tracker:
        tracker.files("per_class.csv")
    assert _keys(client) == {f"mlflow/{tracker.run_id}/artifacts/per_class.csv"}


def test_artifacts_are_recorded_once_their_bucket_exists(
    client: Any, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_store().create_experiment("mini-18-6", artifact_location="s3://later/mlflow")
    with tracked_step("evaluate", protocol="mini-18-6", out=tmp_path / "out") as tracker:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "per_class.csv").write_text("class\ntiger\n")
        tracker.files("per_class.csv")
    assert "NoSuchBucket" in caplog.text and "the step ended well" in caplog.text
    with pytest.raises(ValueError, match=r"was not taken by the MLflow store .*NoSuchBucket"):
        record_folders([tmp_path / "out"])
    client.create_bucket(Bucket="later")
    record_folders([tmp_path / "out"])
    stored = client.list_objects_v2(Bucket="later")["Contents"]
    assert [item["Key"] for item in stored] == [f"mlflow/{tracker.run_id}/artifacts/per_class.csv"]
    assert tracker.run_id and open_store().get_run(tracker.run_id).info.status == "FINISHED"


def test_a_full_disk_is_reported_and_keeps_the_old_file(client: Any, folder: Path, tmp_path: Path) -> None:
    storage.store(folder / "deep" / "b.bin", "s3://bucket/b.bin")
    (tmp_path / "back").write_text("old")
    (tmp_path / ".back.partial").symlink_to("/dev/full")
    with pytest.raises(ValueError, match="back could not be written: no space left"):
        storage.fetch("s3://bucket/b.bin", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "old"


def test_storing_nothing_is_refused(client: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a folder without files"):
        storage.store(tmp_path / "empty", "s3://bucket/x")
    with pytest.raises(ValueError, match="does not exist; give a file or a folder"):
        storage.store(tmp_path / "none", "s3://bucket/x")


def test_a_wrong_key_is_refused_in_one_sentence(client: Any, endpoint: str, tmp_path: Path) -> None:
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        with pytest.raises(ValueError, match="the object store refuses .* check AWS_ACCESS_KEY_ID and"):
            storage.fetch("s3://bucket/data", tmp_path / "back")
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=10)


def test_missing_keys_are_reported_with_their_variables(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(
        ValueError, match="no keys for the object store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ):
        storage.fetch("s3://bucket/data", tmp_path / "back")


def test_a_store_that_does_not_answer_is_reported(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(s3, "RETRIES", 1)
    with pytest.raises(ValueError, match="does not answer .* check that it runs and that AWS_ENDPOINT_URL"):
        storage.fetch("s3://bucket/data", tmp_path / "back")


def test_a_fetch_replaces_no_file_that_it_did_not_bring(client: Any, folder: Path, tmp_path: Path) -> None:
    storage.store(folder, "s3://bucket/data")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match=r"mine contains 1 files that s3://bucket/data lacks, such as thesis"):
        storage.fetch("s3://bucket/data", tmp_path / "mine")
    assert _content(tmp_path / "mine") == {"thesis.txt": b"years"}
    with pytest.raises(UserError, match="is a device"):
        storage.fetch("s3://bucket/data/a.txt", Path("/dev/null"))


def test_a_fetch_writes_to_the_target_of_a_link(client: Any, folder: Path, tmp_path: Path) -> None:
    storage.store(folder, "s3://bucket/data")
    (tmp_path / "big").mkdir()
    (tmp_path / "small").symlink_to("big")
    for _ in range(2):
        storage.fetch("s3://bucket/data", tmp_path / "small")
        assert (tmp_path / "small").is_symlink() and _content(tmp_path / "big") == _content(folder)


def test_files_below_linked_folders_are_stored(client: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "b").write_text("2")
    (folder / "linked").symlink_to(tmp_path / "real")
    assert storage.store(folder, "s3://bucket/data").files == 4
    storage.fetch("s3://bucket/data", tmp_path / "back")
    assert _content(tmp_path / "back")["linked/b"] == b"2"


@pytest.mark.parametrize("target", ["nowhere", "..", "../folder/deep"])
def test_a_link_that_cannot_be_stored_is_named(folder: Path, target: str) -> None:
    (folder / "deep" / "link").symlink_to(target)
    with pytest.raises(UserError, match=r"deep/link is no file, or a link that leads nowhere or back"):
        storage.store(folder, "s3://bucket/data")
