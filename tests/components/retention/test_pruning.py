"""Retention: what anything refers to stays, the rest goes, and a failure half-way loses nothing that is needed."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from mlflow import MlflowClient
from typer.testing import CliRunner

from cascade_core.errors import UserError
from cascade_core.runtime.files import sha256
from components.finished.entries import Entry, TrainingsFolder, TrainingsStore
from components.registry import versions as registry
from components.results import accepted
from components.retention import artifacts, pruning, registered
from components.retention.rule import StillNeededError
from components.retention.trainings import unfinished_items
from components.storage import s3
from components.storage.lease import leased
from components.tracking import pipeline_run
from components.tracking.experiments import experiment_id
from components.tracking.store import open_store
from pipelines.cli.app import app
from tests.components.moto_server import BUCKET, object_store
from tests.components.tracking_server import started

PROTOCOL, NAME = "mini-18-6", "mini-18-6-zegclip"
SOURCE = {"mlflow.source.name": "cascade-clip step"}
ROW = {
    "protocol": PROTOCOL, "method": "zegclip", "setting": "inductive", "seed": 7, "split": "test", "pAcc": 0.8,
    "miou_seen": 0.6, "miou_unseen": 0.4, "hiou": 0.48, "trainable_params": 1, "gmacs": 0.5, "images_per_second": 10.0,
    "data_hash": "ab",
}  # fmt: skip
TAGS = {name: str(value) for name, value in ROW.items() if name not in ("trainable_params", "gmacs")}


@pytest.fixture
def client(store: Path) -> MlflowClient:
    client = open_store()
    client.create_registered_model(NAME)
    return client


def run_of(client: MlflowClient, parent: str = "", status: str = "FINISHED", **tags: str) -> str:
    """Make a run with a file; a step of a parent, or a pipeline's own run."""
    if parent:
        tags["mlflow.parentRunId"] = parent
    run = client.create_run(experiment_id(client, PROTOCOL), tags={**SOURCE, **tags})
    client.log_text(run.info.run_id, "content", "file.txt")
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def pipeline_of(client: MlflowClient, status: str = "FINISHED", **tags: str) -> str:
    """Make the run of a pipeline."""
    return run_of(client, status=status, pipeline="zero-shot", protocol=PROTOCOL, **tags)


def version_of(client: MlflowClient, run_id: str = "", **tags: str) -> tuple[int, Path]:
    """Make a version with files as the register step does, and return its number and the folder of its files."""
    source = run_id or run_of(client, step="register")
    model = client.create_logged_model(experiment_id(client, PROTOCOL), name="zegclip", source_run_id=source)
    folder = Path(str(model.artifact_location).removeprefix("file://"))
    folder.mkdir(parents=True)
    (folder / "weights").write_text("1")
    made = client.create_model_version(
        NAME,
        model.model_uri,
        source,
        tags={registry.CONTENT_TAG: "c", **TAGS, "seed": "0", **tags},
        model_id=model.model_id,
    )
    return int(made.version), folder


def accepted_row(client: MlflowClient, tmp_path: Path, **changes: Any) -> str:
    """Make the run of an accepted benchmark with one row."""
    (tmp_path / accepted.ROWS_FILE).write_text(json.dumps([{**ROW, **changes}]))
    experiment = experiment_id(client, accepted.EXPERIMENT)
    tags = {"step": accepted.EXPERIMENT, accepted.ACCEPTED: "true", **SOURCE}
    run = client.create_run(experiment, tags=tags)
    client.log_artifact(run.info.run_id, str(tmp_path / accepted.ROWS_FILE))
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def verdicts(kind: str, *, keep: int = 1, days: float = 0) -> dict[str, str]:
    """Plan, and return why the items of a kind stay, by the last word of their names."""
    items = pruning.plan(keep=keep, days=days)
    return {item.name.split()[-1].rstrip(")"): item.stays for item in items if item.kind == kind}


def carried_out(**options: Any) -> list[str]:
    return [f"{one.item.kind} {one.verdict}" for one in pruning.carry_out(pruning.plan(**options))]


def test_each_rule_keeps_its_version(client: MlflowClient, tmp_path: Path) -> None:
    for _ in range(6):
        version_of(client)
    measured, _ = version_of(client, seed="7")
    newest, _ = version_of(client)
    other, _ = version_of(client, setting="transductive_oracle")
    client.set_registered_model_alias(NAME, "shown", "2")
    for number in (3, 4, 5):
        champion = registry.champion(client, NAME)
        registry.promote(client, NAME, number, expected=champion and champion.number, reason="")
    accepted_row(client, tmp_path, hiou=0.480000001)
    assert verdicts("version") == {
        "1": "",
        "2": "has the alias shown",
        "3": "",
        "4": "a rollback returns to it",
        "5": "has the alias champion",
        "6": "",
        str(measured): "an accepted benchmark measured it",
        str(newest): "among the newest 1",
        str(other): "among the newest 1",
    }
    assert set(verdicts("version", days=1).values()) >= {"younger than 1 days"}
    assert "" not in verdicts("version", days=1).values()


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"hiou": 0.49}, {"data_hash": "cd"}, {"setting": "supervised"}, {"hiou": None}]
)
def test_a_row_of_another_model_names_no_version(changes: Mapping[str, Any]) -> None:
    assert registered.measured(accepted.RerunRow.model_validate(ROW), TAGS)
    assert not registered.measured(accepted.RerunRow.model_validate({**ROW, **changes}), TAGS)


def test_models_and_runs_of_others_are_not_touched(client: MlflowClient) -> None:
    client.create_registered_model("theirs")
    for _ in range(3):
        client.create_model_version("theirs", "file:///x")
        client.create_run("0", tags={"pipeline": "theirs"})
        run_of(client, step="train")  # outside of pipelines
    client.create_logged_model("0", name="theirs")
    assert pruning.plan(keep=1, days=0) == []


def test_a_version_goes_with_its_files_and_nothing_else(client: MlflowClient) -> None:
    _, old = version_of(client)
    _, new = version_of(client)
    assert carried_out(keep=1, days=0) == ["version removed"]
    assert not old.exists() and (new / "weights").exists()
    assert [one.number for one in registry.versions(client, NAME)] == [2]
    assert pruning.plan(keep=1, days=0)[0].stays and len(pruning.plan(keep=1, days=0)) == 1


def test_what_a_failure_leaves_goes_by_the_next_call(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, old = version_of(client)
    version_of(client)
    with monkeypatch.context() as patch:
        patch.setattr(registered, "remove_files", refuse)
        assert carried_out(keep=1, days=0) == ["version not removed: the disk is read-only"]
    assert (old / "weights").exists()
    assert carried_out(keep=1, days=1) == [], "the files of a version that is made at this moment stay"
    assert carried_out(keep=1, days=0) == ["files removed"]
    assert not old.exists() and carried_out(keep=1, days=0) == []


def test_files_that_another_version_names_stay(client: MlflowClient) -> None:
    _, old = version_of(client)
    source = registry.version(client, NAME, 1).model_id
    client.create_model_version(NAME, f"models:/{source}", tags={registry.CONTENT_TAG: "c", **TAGS})
    assert carried_out(keep=1, days=0) == ["version stays: another version has the same files"]
    assert (old / "weights").exists() and len(registry.versions(client, NAME)) == 1


def refuse(*_: object, **__: object) -> None:
    raise UserError("the disk is read-only")


def test_a_version_that_gets_an_alias_meanwhile_stays(client: MlflowClient) -> None:
    for _ in range(3):
        version_of(client)
    outcomes = pruning.carry_out(pruning.plan(keep=1, days=0))
    client.set_registered_model_alias(NAME, "prod", "1")
    assert sorted(one.verdict for one in outcomes) == [
        "removed", "stays: mini-18-6-zegclip: version 1 has the alias prod"
    ]  # fmt: skip
    assert [one.number for one in registry.versions(client, NAME)] == [3, 1]


def test_each_rule_keeps_its_pipeline(client: MlflowClient, tmp_path: Path) -> None:
    old = pipeline_of(client)
    run_of(client, old, step="train")
    trainer, running = pipeline_of(client), pipeline_of(client, status="RUNNING")
    registering = pipeline_of(client)
    version_of(client, run_of(client, registering, step="register"))
    measuring = pipeline_of(client)
    comparison = accepted_row(client, tmp_path)
    client.set_tag(comparison, "mlflow.parentRunId", measuring)
    newest = pipeline_of(client)
    run_of(client, newest, step="train", trained_in=trainer)
    assert verdicts("run") == {
        old: "",
        trainer: "trained for " + str(client.get_run(newest).info.run_name),
        running: "it runs",
        registering: f"made {NAME} version 1",
        measuring: "an accepted benchmark",
        newest: "among the newest 1",
    }


def test_a_pipeline_goes_with_its_steps_but_not_its_comparison(client: MlflowClient, tmp_path: Path) -> None:
    old, newest = pipeline_of(client), pipeline_of(client)
    step = run_of(client, old, step="evaluate")
    comparison = run_of(client, old, step=accepted.EXPERIMENT)
    files = [Path(client.get_run(run).info.artifact_uri.removeprefix("file://")) for run in (old, step)]
    assert carried_out(keep=1, days=0) == ["run removed"]
    stages = {run: client.get_run(run).info.lifecycle_stage for run in (old, step, comparison, newest)}
    assert stages == {old: "deleted", step: "deleted", comparison: "active", newest: "active"}
    assert not any(file.exists() for file in files)
    assert client.list_artifacts(comparison)


def test_a_pipeline_that_is_retried_or_accepted_meanwhile_stays(client: MlflowClient) -> None:
    retried, judged, _ = (pipeline_of(client) for _ in range(3))
    comparison = run_of(client, judged, step=accepted.EXPERIMENT)
    outcomes = pruning.carry_out(pruning.plan(keep=1, days=0))
    client.update_run(retried, status="RUNNING")
    client.set_tag(comparison, accepted.ACCEPTED, "true")
    assert [one.verdict for one in outcomes] == ["stays: its benchmark was accepted", "stays: it runs again"]


def test_an_interrupted_removal_of_a_pipeline_is_found_again(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = pipeline_of(client), pipeline_of(client)
    for _ in range(2):
        run_of(client, old, step="train")
    real, calls = MlflowClient.delete_run, []

    def fail_second(self: MlflowClient, run_id: str) -> None:
        calls.append(run_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, run_id)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_run", fail_second)
        with pytest.raises(KeyboardInterrupt):
            carried_out(keep=1, days=0)
    assert carried_out(keep=1, days=0) == ["run removed"]
    steps = pipeline_run.step_runs(client, client.get_run(old))
    assert steps == [] and client.get_run(old).info.lifecycle_stage == "deleted"


def prune(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["prune", "--keep", "1", "--older-than", "0", *arguments])


def test_the_command_removes_only_with_yes(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        version_of(client)
    pipeline_of(client)
    said = prune()
    assert said.exit_code == 0 and "2 of 4 would go; --yes removes them" in said.stdout
    assert len(registry.versions(client, NAME)) == 3
    listed = json.loads(prune("--json", "--only", "version").stdout)
    assert [(one["name"], one["verdict"]) for one in listed] == [
        (f"{NAME} version 3", "stays: among the newest 1"),
        (f"{NAME} version 2", "would go"),
        (f"{NAME} version 1", "would go"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(registered, "remove_files", refuse)
        failed = prune("--yes", "--only", "version")
    assert failed.exit_code == 3
    assert failed.stderr.splitlines()[-1] == f"not removed: the disk is read-only: version {NAME} version 1"
    assert prune("--yes").exit_code == 0
    assert [one.number for one in registry.versions(client, NAME)] == [3]


def test_a_pipelines_last_step_shows_what_went(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        version_of(client)
    monkeypatch.delenv("CASCADE_KUBEFLOW_ARTIFACTS", raising=False)
    assert "Kept: 2, by the rule: 1 of each group" in pruning.prune_and_describe(keep=1)
    monkeypatch.setattr(pruning, "USUAL_DAYS", 0.0)
    text = pruning.prune_and_describe(keep=1)
    assert text.splitlines()[-1] == f"- removed: version {NAME} version 1"
    assert [one.number for one in registry.versions(client, NAME)] == [2]


def test_a_wrong_rule_is_refused(client: MlflowClient) -> None:
    with pytest.raises(UserError, match="--keep is 0"):
        pruning.plan(keep=0, days=0)
    with pytest.raises(UserError, match="--older-than is nan"):
        pruning.plan(keep=1, days=float("nan"))


def training(place: TrainingsFolder, number: int, run: str = "", **changes: Any) -> str:
    """Keep a finished training in a place, and return its key."""
    folder = place.root.parent / f"trained-{number}"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("1234")
    facts = {
        "step": "train", "recipe": "mini_zegclip", "method": "zegclip", "setting": "inductive", "protocol": PROTOCOL,
        "seed": 0, "data_hash": "ab", "content": {}, "num_bytes": 4, "sha256": sha256(folder), "mlflow_run": run,
        "finished": datetime(2026, 1, 1 + number, tzinfo=UTC), "key": f"{number:032x}",
    }  # fmt: skip
    entry = Entry.model_validate({**facts, **changes})
    place.add(entry, folder)
    return entry.key


def test_trainings_stay_with_the_pipelines_that_use_them(client: MlflowClient, tmp_path: Path) -> None:
    place = TrainingsFolder(tmp_path / "trainings")
    old = pipeline_of(client)
    newest = pipeline_of(client)
    name = str(client.get_run(newest).info.run_name)
    unused, of_old = training(place, 0), training(place, 1, old)
    taken, made = training(place, 2, old), training(place, 3, newest)
    last, other = training(place, 5), training(place, 4, recipe="mini_cascade_clip")
    run_of(client, newest, step="train", finished_training=taken)
    options: dict[str, Any] = {"keep": 1, "trainings": str(place.root)}
    items = [item for item in pruning.plan(days=0, **options) if item.kind == "training"]
    assert {item.key: item.stays for item in items} == {
        unused: "",
        of_old: "",
        taken: f"used by {name}",
        made: f"used by {name}",
        last: "among the newest 1",
        other: "among the newest 1",
    }
    assert {item.num_bytes for item in items} == {4}
    assert all(item.stays for item in pruning.plan(days=10_000, **options))
    assert [one.verdict for one in pruning.carry_out(items)] == ["removed", "removed"]
    assert {entry.key for entry in place.entries()} == {taken, made, last, other}


def test_what_an_interrupted_training_left_goes_once_it_is_old(client: MlflowClient, tmp_path: Path) -> None:
    place = TrainingsFolder(tmp_path / "trainings")
    whole = training(place, 0)
    keys = old, young, running, resumed = [f"{number:032x}" for number in range(1, 5)]
    before = datetime.now(UTC).timestamp() - 30 * 86_400
    for key in keys:
        left = place.root / key / ".training.resume"
        left.mkdir(parents=True)
        (left / "weights").write_text("12345")
        for path in (left / "weights", left, left.parent):
            os.utime(path, None if key == young else (before, before))
    items = [item for item in pruning.plan(keep=9, days=7, trainings=str(place.root)) if item.key in keys]
    assert {item.key: item.stays for item in items} == {
        old: "", young: "younger than 7 days", running: "", resumed: "",
    }  # fmt: skip
    assert {item.num_bytes for item in items} == {5}
    (place.root / resumed / "training").mkdir()
    with leased(place.root / running):
        verdicts = {one.item.key: one.verdict for one in pruning.carry_out(items)}
    assert verdicts == {
        old: "removed",
        running: "stays: its training runs",
        resumed: "stays: something was written there since",
    }
    assert {folder.name for folder in place.root.iterdir()} == {whole, young, running, resumed}


def test_a_place_that_no_variable_names_is_not_looked_at(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CASCADE_TRAININGS", "CASCADE_TRAININGS_VOLUME"):
        monkeypatch.delenv(name, raising=False)
    done = prune("--only", "training")
    assert done.exit_code == 0 and done.stdout == ""
    assert "finished trainings are not looked at: --trainings names no place" in done.stderr


KFP_RUNS = [f"0000000{number}-916b-4697-a1de-b85274b7a348" for number in range(5)]


@pytest.fixture
def bucket(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a store with the artifacts of five runs of a pipeline, and of somebody else's."""
    with object_store(monkeypatch):
        store = boto3.client("s3")
        for kfp_run in (*KFP_RUNS, "no-run"):
            for name in ("prepare/1/prepared/index", "train/2/trained/final/weights"):
                store.put_object(Bucket=BUCKET, Key=f"v2/artifacts/zero-shot/{kfp_run}/{name}", Body=b"1234")
        store.put_object(Bucket=BUCKET, Key=f"v2/artifacts/theirs/{KFP_RUNS[0]}/x", Body=b"")
        yield store


def runs_in(bucket: Any) -> list[str]:
    keys = [
        item["Key"].split("/")
        for item in bucket.list_objects_v2(Bucket=BUCKET, Prefix="v2/artifacts/")["Contents"]
    ]
    return sorted({f"{key[2]} {key[3]}" for key in keys})


def test_kubeflows_folders_go_with_their_pipelines(client: MlflowClient, bucket: Any) -> None:
    newest = [pipeline_of(client, kfp_run=kfp_run) for kfp_run in KFP_RUNS[:3]][-1]
    name = client.get_run(newest).info.run_name
    place = {"artifacts": f"s3://{BUCKET}/v2/artifacts", "keep": 1}
    items = [item for item in pruning.plan(**place, days=0) if item.kind == "artifacts"]
    stays = {item.key: item.stays for item in items}
    # The store's times have whole seconds, so any of the folders may be the newest.
    by_rank = [kfp_run for kfp_run, why in stays.items() if why == "among the newest 1"]
    assert stays.pop(KFP_RUNS[2]) == f"MLflow keeps {name}"
    assert len(by_rank) <= 1 and {why for run, why in stays.items() if run not in by_rank} == {""}
    assert {item.num_bytes for item in items} == {8}
    assert all(item.stays for item in pruning.plan(**place, days=1))
    gone = [one.item.key for one in pruning.carry_out(items) if one.verdict == "removed"]
    assert set(gone) == {run for run, why in stays.items() if not why}
    left = {f"zero-shot {run}" for run in (*KFP_RUNS, "no-run") if run not in gone}
    assert set(runs_in(bucket)) == {*left, f"theirs {KFP_RUNS[0]}"}


def test_an_interrupted_upload_of_a_training_goes_too(bucket: Any) -> None:
    place = TrainingsStore(s3.address(f"s3://{BUCKET}/interrupted"))
    whole = {f"{'2' * 32}/training/weights", f"{'2' * 32}/entry.json"}
    for name in (f"{'1' * 32}/training/weights", *whole):
        bucket.put_object(Bucket=BUCKET, Key=f"interrupted/{name}", Body=b"123")
    (item,) = unfinished_items(place)
    assert (item.key, item.num_bytes) == ("1" * 32, 3)
    item.remove()
    assert set(s3.list_files(bucket, place.address)) == whole


def test_a_folder_that_is_written_again_stays(client: MlflowClient, bucket: Any) -> None:
    pipeline_of(client, kfp_run=KFP_RUNS[0])
    folder = artifacts.run_folders(bucket, s3.address(f"s3://{BUCKET}/v2/artifacts"), "zero-shot")[0]
    changed = replace(folder, written=folder.written - timedelta(seconds=5))
    with pytest.raises(StillNeededError, match="something was written there since"):
        artifacts._remove(bucket, s3.address(f"s3://{BUCKET}/v2/artifacts"), changed)
    assert len(runs_in(bucket)) == 7


def test_files_behind_a_tracking_server_go_too(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = started(tmp_path, store / "mlruns" / "mlflow.db", monkeypatch)
    (tmp_path / "weights").write_text("1234")
    try:
        client = open_store()
        client.create_registered_model(NAME)
        runs = [pipeline_of(client) for _ in range(2)]
        for run in runs:
            step = run_of(client, run, step="register")
            model = client.create_logged_model(experiment_id(client, PROTOCOL), name="z", source_run_id=step)
            client.log_model_artifact(model.model_id, str(tmp_path / "weights"))
            tags = {registry.CONTENT_TAG: "c", **TAGS}
            client.create_model_version(NAME, model.model_uri, step, tags=tags, model_id=model.model_id)
        kept = {path.parent for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
        assert len(kept) == 6
        assert carried_out(keep=1, days=0) == ["version removed", "run removed"]
        left = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
        assert len(left) == 3 and len(client.list_artifacts(runs[1])) == 1
    finally:
        server.stop()
