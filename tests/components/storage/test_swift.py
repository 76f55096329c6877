"""A real object store, OpenStack Swift: the five variables drive files, DVC and MLflow, and it checks who asks."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest

from components.storage import parts
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


def test_a_folder_comes_back_as_it_was_and_is_not_moved_twice(endpoint: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "folder")
    assert storage.store(folder, "s3://bucket/data") == Moved(3, 10241, kept=0)
    assert storage.fetch("s3://bucket/data", tmp_path / "back") == Moved(3, 10241, kept=0)
    assert _content(tmp_path / "back") == CONTENT
    assert storage.store(folder, "s3://bucket/data").kept == 3


def test_a_large_file_goes_in_parts_and_on_where_it_stopped(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part = 5 * 2**20  # the smallest that S3 takes
    monkeypatch.setattr(storage, "PART_BYTES", part)
    monkeypatch.setattr(storage, "THREADS", 1)
    large, to, uri = (
        tmp_path / "model.safetensors",
        tmp_path / "back",
        "s3://bucket/weights/model.safetensors",
    )
    large.write_bytes(os.urandom(2 * part + 2**20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_read", _until(parts._read, calls=2))
        with pytest.raises(KeyboardInterrupt):
            storage.store(large, uri)
    with caplog.at_level(logging.INFO):
        storage.store(large, uri)
    assert "goes on after 2 of 3 parts" in caplog.text
    assert (
        boto3.client("s3").head_object(Bucket=BUCKET, Key="weights/model.safetensors")["ETag"].endswith('-3"')
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_body", _until(parts._body, calls=2))
        with pytest.raises(KeyboardInterrupt):
            storage.fetch(uri, to)
    (partial,) = tmp_path.glob(".back.*")
    assert partial.stat().st_size == 2 * part
    storage.fetch(uri, to)
    assert to.read_bytes() == large.read_bytes()


def _until(function: Callable[..., bytes], *, calls: int) -> Callable[..., bytes]:
    """Stop as Ctrl-C would after some calls."""
    counted = count(1)

    def stopping(*arguments: Any, **named: Any) -> bytes:
        if next(counted) > calls:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return stopping


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
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_mlflows_artifacts_go_there(endpoint: str, store: Path) -> None:
    open_store().create_experiment("mini-18-6", artifact_location="s3://bucket/mlflow")
    with tracked_step("evaluate", protocol="mini-18-6") as tracker:
        tracker.table(pd.DataFrame({"class": ["tiger"]}), "per_class.csv")
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


def test_a_wrong_bucket_is_told(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no bucket 'nobodys' in this store"):
        storage.fetch("s3://nobodys/data", tmp_path / "back")
