"""Addresses of large data: folders are read in place, and object stores are fetched once to the cache."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from components.storage import places
from components.storage import transfer as storage


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket on a local server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="data")
    yield "s3://data"
    server.stop()


def test_a_folder_is_read_in_place(tmp_path: Path) -> None:
    assert places.folder("raw", str(tmp_path)) == tmp_path
    with pytest.raises(
        ValueError, match="parameter raw: folder .*nowhere does not exist where the step runs"
    ):
        places.folder("raw", str(tmp_path / "nowhere"))


def test_a_folder_in_an_object_store_is_fetched_once(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "one.txt").write_text("1")
    (tmp_path / "voc" / "pets.yaml").write_text("name: pets")
    storage.store(tmp_path / "voc", f"{bucket}/raw/voc")
    monkeypatch.setenv("CASCADE_CACHE", str(tmp_path / "cache"))
    first = places.folder("raw", f"{bucket}/raw/voc")
    assert (first / "one.txt").read_text() == "1"
    written = (first / "one.txt").stat().st_ino
    assert places.folder("raw", f"{bucket}/raw/voc/") == first
    assert (first / "one.txt").stat().st_ino == written
    assert places.folder("raw", f"{bucket}/raw") != first
    assert Path(places.protocol(f"{bucket}/raw/voc/pets.yaml")).read_text() == "name: pets"


@pytest.mark.parametrize(
    ("place", "message"), [(" ", "raw is empty"), ("gs://bucket/voc", "s3:// addresses")]
)
def test_other_addresses_are_refused(place: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        places.check_place("raw", place)


def test_a_protocol_may_be_the_path_of_a_label_file(tmp_path: Path) -> None:
    assert places.protocol("mini-18-6") == "mini-18-6"
    (tmp_path / "pets.yaml").write_text("name: pets")
    assert places.protocol(str(tmp_path / "pets.yaml")) == str(tmp_path / "pets.yaml")
    with pytest.raises(ValueError, match=r"label file .*dogs\.yaml does not exist where the step runs"):
        places.protocol(str(tmp_path / "dogs.yaml"))


def test_an_experiment_is_named_without_the_label_file() -> None:
    experiments = [
        places.experiment(protocol) for protocol in ("mini-18-6", "s3://b/pets.yaml", "/data/pets.yml")
    ]
    assert experiments == ["mini-18-6", "pets", "pets"]


@pytest.fixture
def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the home by a file, and put temporary files into the test's folder."""
    (tmp_path / "home").touch()
    monkeypatch.delenv("CASCADE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_cache_is_the_users_own_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_CACHE", "/data/cache")
    assert places.cache_folder() == Path("/data/cache")
    monkeypatch.delenv("CASCADE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert places.cache_folder() == tmp_path / "xdg" / "cascade-clip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.cache_folder() == tmp_path / ".cache" / "cascade-clip"


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_the_cache_is_a_private_folder(tmp_path: Path) -> None:
    cache = places.cache_folder()
    assert (cache.parent, cache.stat().st_mode & 0o777) == (tmp_path, 0o700)
    assert places.cache_folder() == cache


@pytest.mark.usefixtures("_no_home")
def test_a_cache_writable_by_others_is_refused(tmp_path: Path) -> None:
    cache = places.cache_folder()
    cache.chmod(0o777)
    with pytest.raises(ValueError, match="no folder that you alone can write to; .*CASCADE_CACHE"):
        places.cache_folder()
    cache.rmdir()
    cache.symlink_to(tmp_path)
    with pytest.raises(ValueError, match="no folder that you alone can write to"):
        places.cache_folder()
