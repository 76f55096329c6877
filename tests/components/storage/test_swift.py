"""A real object store, OpenStack Swift: files, DVC and MLflow use the same variables, and wrong keys are refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from components.storage import transfer as storage
from components.storage.transfer import Moved
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from tests.components.swift_server import BUCKET, swift_store

pytestmark = pytest.mark.swift
CONTENT = {"a.txt": b"a", "deep/b.bin": bytes(range(256)) * 40, "deep/empty": b""}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        pytest.MonkeyPatch.context() as patch,
        swift_store(tmp_path_factory.mktemp("swift"), patch) as endpoint,
    ):
        yield endpoint


def _write(folder: Path) -> Path:
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_comes_back_unchanged_and_is_moved_once(endpoint: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "folder")
    assert storage.store(folder, "s3://bucket/data") == Moved(3, 10241, kept=0)
    assert storage.fetch("s3://bucket/data", tmp_path / "back") == Moved(3, 10241, kept=0)
    assert _content(tmp_path / "back") == CONTENT
    assert storage.store(folder, "s3://bucket/data").kept == 3


def test_a_large_file_is_sent_in_parts(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 5 * 2**20  # the smallest that S3 takes
    monkeypatch.setattr(storage, "PART_BYTES", part)
    large, uri = tmp_path / "model.safetensors", "s3://bucket/weights/model.safetensors"
    large.write_bytes(os.urandom(2 * part + 2**20))
    storage.store(large, uri)
    head = boto3.client("s3").head_object(Bucket=BUCKET, Key="weights/model.safetensors")
    assert head["ETag"].endswith('-3"')
    storage.fetch(uri, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert storage.store(large, uri).kept == 1


def test_dvc_pushes_what_a_clone_pulls(endpoint: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    _write(first / "data")
    second.mkdir()
    remote = ["remote", "add", "--local", "--default", "s3", "s3://bucket/dvc"]
    _dvc(first, ["init", "-q", "--no-scm"], ["add", "-q", "data"], remote, ["push", "-q"])
    (second / "data.dvc").write_bytes((first / "data.dvc").read_bytes())
    _dvc(second, ["init", "-q", "--no-scm"], remote, ["pull", "-q"])
    assert _content(second / "data") == CONTENT


def _dvc(folder: Path, *commands: list[str]) -> None:
    for command in commands:
        process = subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stdout + process.stderr


def test_mlflow_stores_artifacts_in_swift(endpoint: str, store: Path, tmp_path: Path) -> None:
    open_store().create_experiment("mini-18-6", artifact_location="s3://bucket/mlflow")
    (tmp_path / "per_class.csv").write_text("class\ntiger\n")
    with tracked_step("evaluate", protocol="mini-18-6", out=tmp_path) as tracker:
        tracker.files("per_class.csv")
    assert tracker.run_id
    stored = open_store().download_artifacts(tracker.run_id, "per_class.csv", str(store))
    assert Path(stored).read_text() == "class\ntiger\n"
    key = f"mlflow/{tracker.run_id}/artifacts/per_class.csv"
    assert boto3.client("s3").head_object(Bucket=BUCKET, Key=key)["ContentLength"] == 12


def test_a_wrong_secret_is_refused_in_one_sentence(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(
        ValueError, match=rf"at {endpoint}: the object store refuses .* check AWS_ACCESS_KEY_ID"
    ):
        storage.store(tmp_path / "a.txt", "s3://bucket/a.txt")


def test_an_unknown_bucket_is_reported(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no bucket 'nobodys' in this store"):
        storage.fetch("s3://nobodys/data", tmp_path / "back")
