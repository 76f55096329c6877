"""Finished trainings are kept whole or not at all, in a folder and in an object store."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from cascade_core.runtime.files import sha256
from components.finished.entries import ENTRY_FILE, TRAINING, Entry, Trainings, num_bytes, trainings_at
from tests.components.moto_server import BUCKET, object_store

KEYS = ("a" * 32, "b" * 32)


@pytest.fixture(scope="module", params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path_factory.mktemp("kept") / "trainings")
        return
    with pytest.MonkeyPatch.context() as patch, object_store(patch):
        yield f"s3://{BUCKET}/team/trainings"


@pytest.fixture
def kept(place: str) -> Trainings:
    """Give an empty place."""
    kept = trainings_at(place)
    for key in KEYS:
        kept.remove(key)
    return kept


@pytest.fixture
def training(tmp_path: Path) -> Path:
    (tmp_path / "training" / "final").mkdir(parents=True)
    (tmp_path / "training" / "final" / "model.safetensors").write_bytes(bytes(range(256)))
    (tmp_path / "training" / "manifest.json").write_text("{}")
    return tmp_path / "training"


def entry_of(training: Path, key: str = KEYS[0]) -> Entry:
    return Entry(
        key=key,
        content={"code": "0"},
        step="train",
        recipe="mini_zegclip",
        method="zegclip",
        setting="inductive",
        protocol="mini-18-6",
        seed=3,
        data_hash="d",
        mlflow_run="run",
        finished=datetime(2026, 11, 29, tzinfo=UTC),
        num_bytes=num_bytes(training),
        sha256=sha256(training),
    )


def damage(place: str, name: str, content: bytes) -> None:
    """Replace a file of the first entry."""
    if not place.startswith("s3://"):
        Path(place, KEYS[0], name).write_bytes(content)
        return
    key = f"{place.removeprefix(f's3://{BUCKET}/')}/{KEYS[0]}/{name}"
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)


def test_a_kept_training_is_found_listed_and_fetched(kept: Trainings, training: Path, tmp_path: Path) -> None:
    assert (kept.find(KEYS[0]), list(kept.entries())) == (None, [])
    entries = [entry_of(training, key) for key in KEYS]
    for entry in reversed(entries):
        kept.add(entry, training)
    assert list(kept.entries()) == entries
    kept.fetch(entries[0], tmp_path / "fetched")
    assert sha256(tmp_path / "fetched") == entries[0].sha256
    kept.remove(KEYS[0])
    assert list(kept.entries()) == entries[1:]
    assert training.is_dir()


def test_a_later_training_of_a_key_replaces_the_first(
    kept: Trainings, training: Path, tmp_path: Path
) -> None:
    (training / "old").write_text("old")
    kept.add(entry_of(training), training)
    (training / "old").unlink()
    kept.add(entry_of(training), training)
    kept.fetch(entry_of(training), tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "old").exists()


@pytest.mark.parametrize("size", [256, 3])
def test_a_damaged_training_is_not_fetched(
    kept: Trainings, place: str, training: Path, tmp_path: Path, size: int
) -> None:
    kept.add(entry_of(training), training)
    damage(place, f"{TRAINING}/final/model.safetensors", bytes(size))
    with pytest.raises(ValueError, match="cannot be used"):
        kept.fetch(entry_of(training), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_an_unreadable_entry_is_passed_over(
    kept: Trainings, place: str, training: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.add(entry_of(training), training)
    for text in ("", "{}", json.dumps({"format": 2}), "[" * 1000):
        damage(place, ENTRY_FILE, text.encode())
        assert kept.find(KEYS[0]) is None
    assert list(kept.entries()) == []
    assert caplog.text.count("a finished training is passed over: ") == 5


def test_an_entry_of_another_key_is_passed_over(kept: Trainings, place: str, training: Path) -> None:
    kept.add(entry_of(training), training)
    damage(place, ENTRY_FILE, entry_of(training, KEYS[1]).model_dump_json().encode())
    assert kept.find(KEYS[0]) is None


def test_a_place_is_an_absolute_folder_or_an_address() -> None:
    for place in ("trainings", "s3:///nothing"):
        with pytest.raises(ValueError, match="no place for finished trainings|no address of an object store"):
            trainings_at(place)
