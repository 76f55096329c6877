"""Shards in an object store: pictures, list and results there give the same bytes as on a disk."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import boto3
import numpy as np
import pytest
from PIL import Image

from cascade_core.bulk.shards import Shard
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.bulk import gather, shard
from components.bulk.listing import addresses
from components.bulk.sources import ListedPicture, Store
from components.servers.patience import AwayError
from components.storage import result_folder as result_folders
from components.storage.result_folder import result_folder
from components.storage.transfer import fetch, store
from tests.components.moto_server import BUCKET, object_store

ROOT = f"s3://{BUCKET}"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch) as address:
        yield address


def test_a_store_holds_pictures_list_and_results(endpoint: str, predictor: Predictor, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(10):
        Image.fromarray(np.full((16, 24, 3), 20 * i, np.uint8)).save(photos / f"{i}.png")
    store(photos, f"{ROOT}/photos")
    listed = addresses([f"{ROOT}/photos"])
    assert listed == [f"{ROOT}/photos/{i}.png" for i in range(10)]
    (tmp_path / "list.txt").write_text("\n".join([*listed[:9], f"{ROOT}/photos/gone.png"]))
    store(tmp_path / "list.txt", f"{ROOT}/list.txt")
    pictures = addresses([], [f"{ROOT}/list.txt"])
    run = partial(
        shard.run,
        predictor=predictor,
        pictures=pictures,
        labels=["zebra", "sand"],
        shard=Shard(0, 1),
        batch=2,
    )

    run(out=str(tmp_path / "disk"))
    assert run(out=f"{ROOT}/out/") == shard.ShardResult(10, 0, 1)
    assert run(out=f"{ROOT}/out/") == shard.ShardResult(10, 10, 1)
    for place in (str(tmp_path / "disk"), f"{ROOT}/out"):
        joined = gather.run(place)
        assert (joined.pictures, joined.failed) == (10, 1)
    fetch(f"{ROOT}/out", tmp_path / "fetched")
    names = sorted(path.relative_to(tmp_path / "disk") for path in (tmp_path / "disk").rglob("*.*"))
    assert [name for name in names if (tmp_path / "disk" / name).is_file()]
    for name in names:
        assert (tmp_path / "fetched" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()

    boto3.client("s3").put_object(Bucket=BUCKET, Key="photos/3.png", Body=(photos / "0.png").read_bytes())
    assert run(out=f"{ROOT}/out/").kept == 2


def test_a_lease_in_a_store_expires(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = result_folder(f"{ROOT}/leases")
    with folder.held("shards/0", work="worker"):
        with pytest.raises(UserError, match="shards/0 is in use: another worker writes it"):
            with folder.held("shards/0", work="worker"):
                pass
        monkeypatch.setattr("components.storage.result_folder.LEASE_SECONDS", -1)
        with folder.held("shards/0", work="worker"):
            pass
    assert folder.names("shards") == set()


def test_a_lease_in_a_store_is_waited_for(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is tried again waits for the lease of the pod that died."""
    folder = result_folder(f"{ROOT}/leases")
    other = ExitStack()
    other.enter_context(folder.held("shards/0", work="worker"))

    def release(seconds: float) -> None:
        assert seconds == result_folders.WAITING_SECONDS
        other.close()

    monkeypatch.setattr(result_folders, "time", SimpleNamespace(sleep=release))
    with folder.held("shards/0", work="worker", wait=True):
        assert folder.names("shards") == {"0.lease"}
    assert folder.names("shards") == set()


def test_a_store_that_vanishes_ends_the_shard(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.storage.s3.RETRIES", 1)
    Image.new("RGB", (24, 16)).save(tmp_path / "a.png")
    run = partial(
        shard.run,
        predictor=predictor,
        pictures=[str(tmp_path / "a.png")] * 8 + [f"{ROOT}/a.png"] * 8,
        labels=["zebra"],
        shard=Shard(0, 1),
        out=str(tmp_path / "out"),
    )
    with object_store(monkeypatch):
        store(tmp_path / "a.png", f"{ROOT}/a.png")
        whole = run(out=str(tmp_path / "whole"))
    with pytest.raises(AwayError, match="the object store does not answer"):
        run()
    assert not (tmp_path / "out/shards/00000-of-00001.json").exists()
    with object_store(monkeypatch):
        store(tmp_path / "a.png", f"{ROOT}/a.png")
        run()
    assert whole.failed == 0
    table = "shards/00000-of-00001.parquet"
    assert (tmp_path / "out" / table).read_bytes() == (tmp_path / "whole" / table).read_bytes()


def test_a_missing_object_is_a_fault_of_its_own(endpoint: str) -> None:
    picture = ListedPicture(0, f"{ROOT}/gone.png", Store())
    with pytest.raises(ValueError, match="gone.png: there is no such object"):
        picture.read()
    assert picture.current_version() is None
