"""A training of a pipeline resumes in its folder, and is taken by whoever needs the same one."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cascade_core.runtime.files import read_json, sha256
from components.artifacts.manifest import input_hash
from components.cluster.names import POD_VARIABLE, TRAININGS_VARIABLE, VOLUME_VARIABLE
from components.finished.entries import TrainingsFolder
from components.finished.take_or_train import TAKEN_TAG, TRAINED_IN_TAG, take_or_train
from components.finished.workplace import Workplace, workplace
from components.launching import nodes
from components.steps import self_train, train
from components.storage.places import cache_folder
from components.tracking.pipeline_run import PARENT_VARIABLE
from components.tracking.store import open_store
from components.training.resume_checkpoints import NEWEST
from tests.components.conftest import RECIPE, SHORT, Folders, interrupt_after
from tests.components.moto_server import BUCKET, object_store
from tests.components.same_training import check_same_training

OVERRIDES = {**SHORT, "self_train.start_iteration": 2}


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mount a volume, as a pod has one."""
    monkeypatch.delenv(TRAININGS_VARIABLE, raising=False)
    monkeypatch.setenv(POD_VARIABLE, "10.0.0.1")
    monkeypatch.setenv(VOLUME_VARIABLE, str(tmp_path / "volume" / "trainings"))
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume" / "trainings"


@pytest.fixture(scope="module")
def whole(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a training that nothing interrupted, made without a volume."""
    out = tmp_path_factory.mktemp("whole") / "out"
    train.run(**arguments(folders, out))
    return out


def arguments(folders: Folders, out: Path) -> dict[str, Any]:
    return {
        **folders.steps, "clip": folders.clip, "recipe": RECIPE, "overrides": OVERRIDES, "seed": 3, "out": out
    }  # fmt: skip


Training = Callable[[Mapping[str, Any]], None]


def trained(own: Mapping[str, Any]) -> None:
    """Train as a pod does."""
    nodes.run_here_or_on_nodes("train", own, "")


def never(own: Mapping[str, Any]) -> None:
    raise AssertionError("something was trained")


@pytest.fixture
def copied(whole: Path) -> Training:
    """Give a training that takes no time."""
    return lambda own: shutil.copytree(whole, own["out"])


def step(folders: Folders, out: Path, training: Training, *, reuse: bool = True) -> dict[str, Any]:
    return take_or_train(train.run, arguments(folders, out), reuse=reuse, train=training)


def test_a_killed_training_goes_on_in_its_folder(
    folders: Folders, whole: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            step(folders, tmp_path / "first_pod" / "trained", trained)
    assert not (tmp_path / "first_pod").exists()
    (checkpoint,) = volume.glob(f"*/.training.unfinished/{NEWEST}")
    assert checkpoint.is_dir()
    caplog.set_level(logging.INFO)
    metadata = step(folders, tmp_path / "second_pod" / "trained", trained)
    assert "at step 2 of 4" in caplog.text
    check_same_training(whole, tmp_path / "second_pod" / "trained")
    assert input_hash(tmp_path / "second_pod" / "trained") == input_hash(whole)
    # Of the work, only the finished training is left.
    key = metadata[TAKEN_TAG]
    assert metadata == {TAKEN_TAG: key, "trained": True}
    assert {path.name for path in volume.iterdir()} == {key}
    assert {path.name for path in (volume / key).iterdir()} == {"training", "entry.json"}


def test_a_finished_training_is_taken_once_made(
    folders: Folders, volume: Path, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv(PARENT_VARIABLE, parent := open_store().create_run("0").info.run_id)
    key = step(folders, tmp_path / "a" / "trained", trained)[TAKEN_TAG]
    caplog.set_level(logging.INFO)
    metadata = step(folders, tmp_path / "b" / "trained", never)
    assert metadata == {TAKEN_TAG: key, "trained": False}
    assert f"took the finished training {key} of 20" in caplog.text
    check_same_training(tmp_path / "a" / "trained", tmp_path / "b" / "trained")
    manifest = read_json(tmp_path / "b" / "trained" / "manifest.json")
    for name, record in manifest["inputs"].items():
        path = tmp_path / "b" / "trained" / record["path"]
        assert path.resolve() == arguments(folders, tmp_path)[name].resolve()
    client = open_store()
    (experiment,) = (one for one in client.search_experiments() if one.name == "mini-18-6")
    second, first = client.search_runs([experiment.experiment_id])
    assert (second.data.tags[TAKEN_TAG], second.data.tags[TRAINED_IN_TAG]) == (key, parent)
    assert TAKEN_TAG not in first.data.tags
    assert second.data.params == first.data.params
    assert (second.info.run_name, second.info.status) == (first.info.run_name, "FINISHED")


def test_a_run_may_refuse_finished_trainings(
    folders: Folders, copied: Training, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, "run 1")
    assert step(folders, tmp_path / "a" / "trained", copied)["trained"]
    monkeypatch.setenv(PARENT_VARIABLE, "run 2")
    assert step(folders, tmp_path / "b" / "trained", copied, reuse=False)["trained"]
    # A retry of that run takes what the run itself made.
    assert not step(folders, tmp_path / "c" / "trained", never, reuse=False)["trained"]
    (entry,) = TrainingsFolder(volume).entries()
    assert (entry.mlflow_run, entry.step, entry.recipe, entry.seed) == ("run 2", "train", RECIPE, 3)


@pytest.mark.parametrize("damaged", ["training/final/model.safetensors", "entry.json"])
def test_a_damaged_training_is_trained_anew(
    folders: Folders, whole: Path, copied: Training, volume: Path, tmp_path: Path, damaged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    key = step(folders, tmp_path / "a" / "trained", copied)[TAKEN_TAG]
    (volume / key / "training" / "final" / "model.safetensors").write_bytes(b"cut")
    (volume / key / damaged).write_bytes(b"cut")
    assert step(folders, tmp_path / "b" / "trained", copied) == {TAKEN_TAG: key, "trained": True}
    assert "a finished training is passed over: " in caplog.text
    check_same_training(whole, tmp_path / "b" / "trained")
    (entry,) = TrainingsFolder(volume).entries()
    assert sha256(volume / key / "training") == entry.sha256


def test_a_training_killed_before_it_was_kept_is_handed_on(
    folders: Folders,
    whole: Path,
    copied: Training,
    volume: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any) -> None:
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingsFolder, "add", killed)
        with pytest.raises(SystemExit):
            step(folders, tmp_path / "a" / "trained", copied)
    assert not step(folders, tmp_path / "b" / "trained", never)["trained"]
    check_same_training(whole, tmp_path / "b" / "trained")


def test_of_two_equal_trainings_the_second_waits(
    folders: Folders, copied: Training, volume: Path, tmp_path: Path
) -> None:
    def slow(own: Mapping[str, Any]) -> None:
        time.sleep(0.5)
        copied(own)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: step(folders, tmp_path / name / "trained", slow), ("a", "b")))
    assert sorted(one["trained"] for one in done) == [False, True]
    check_same_training(tmp_path / "a" / "trained", tmp_path / "b" / "trained")


def test_a_self_training_is_taken_too(folders: Folders, whole: Path, volume: Path, tmp_path: Path) -> None:
    def call(out: Path, work: Any) -> dict[str, Any]:
        values = {**folders.steps, "trained": whole, "overrides": {}, "mode": "strict", "out": out}
        return take_or_train(self_train.run, values, reuse=True, train=work)

    assert call(tmp_path / "a", lambda own: self_train.run(**own))["trained"]
    assert not call(tmp_path / "b", never)["trained"]
    assert input_hash(tmp_path / "a") == input_hash(tmp_path / "b")


def test_a_volume_that_takes_no_files_costs_a_warning(
    folders: Folders, whole: Path, volume: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume.parent.rmdir()
    assert step(folders, tmp_path / "out", trained) == {}
    assert "an interrupted one starts anew: " in caplog.text
    check_same_training(whole, tmp_path / "out")


def test_the_variable_of_pods_means_nothing_elsewhere(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workplace() == Workplace(volume, TrainingsFolder(volume))
    monkeypatch.delenv(POD_VARIABLE)
    assert workplace() is None
    monkeypatch.setenv(TRAININGS_VARIABLE, str(tmp_path))
    assert workplace() == Workplace(tmp_path, TrainingsFolder(tmp_path))
    monkeypatch.setenv(TRAININGS_VARIABLE, "s3://bucket/trainings")
    own = workplace()
    assert own is not None and own.root == cache_folder() / "trainings"


@pytest.fixture
def bucket(volume: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Name an object store as the place of finished trainings."""
    with object_store(monkeypatch):
        monkeypatch.setenv(TRAININGS_VARIABLE, f"s3://{BUCKET}/{volume.parents[1].name}")
        yield


def test_an_object_store_shares_trainings_between_volumes(
    folders: Folders, whole: Path, copied: Training, volume: Path, bucket: None, tmp_path: Path
) -> None:
    assert step(folders, tmp_path / "a" / "trained", copied)["trained"]
    assert list(volume.iterdir()) == []
    shutil.rmtree(volume)
    assert not step(folders, tmp_path / "b" / "trained", never)["trained"]
    check_same_training(whole, tmp_path / "b" / "trained")


def test_a_training_that_the_store_refuses_is_handed_on(
    folders: Folders, whole: Path, copied: Training, volume: Path, bucket: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def work(own: Mapping[str, Any]) -> None:
        copied(own)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    monkeypatch.setenv("CASCADE_PATIENCE", "0")
    monkeypatch.setattr("components.storage.s3.RETRIES", 1)
    out = tmp_path / "a" / "trained"
    assert step(folders, out, work)["trained"]
    assert "handed on, but not kept" in caplog.text
    check_same_training(whole, out)
    (kept,) = volume.glob("*/training")
    assert sha256(kept / "final") == sha256(whole / "final")
