"""A store that was moved or copied: nothing reads or writes the files of another folder, and one command mends it."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cascade_core.errors import UserError
from components.retention import pruning
from components.tracking.displacement import check_place, displacement, relocate
from components.tracking.experiments import experiment_id
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from pipelines.cli.app import app

PROTOCOL = "mini-18-6"
MENDING = r"was moved or copied, and names files .* in {}; run `cascade-clip relocate`"


@pytest.fixture
def copy(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of a store that holds a run with a file, and a version of a model."""
    client = open_store()
    experiment = experiment_id(client, PROTOCOL)
    run = client.create_run(experiment).info.run_id
    (store / "scores.json").touch()
    client.log_artifact(run, str(store / "scores.json"))
    model = client.create_logged_model(experiment, name="zegclip", source_run_id=run)
    Path(model.artifact_location.removeprefix("file://")).mkdir(parents=True)
    client.create_registered_model("zegclip")
    client.create_model_version("zegclip", f"models:/{model.model_id}", run, model_id=model.model_id)
    folder = tmp_path / "a copy"
    shutil.copytree(store / "mlruns", folder / "mlruns")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow set it to the first store
    return folder


def _locations() -> list[str]:
    client = open_store()
    experiment = client.get_experiment_by_name(PROTOCOL)
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name != 'splits'")
    (model,) = client.search_logged_models([experiment.experiment_id])
    version = client.get_model_version_download_uri("zegclip", "1")
    return [experiment.artifact_location, run.info.artifact_uri, model.artifact_location, version]


def test_nothing_uses_the_files_of_the_store_that_was_copied(copy: Path, store: Path) -> None:
    earlier = store / "mlruns" / "artifacts"
    with (
        pytest.raises(UserError, match=MENDING.format(earlier)),
        tracked_step("splits", protocol=PROTOCOL),
    ):
        raise AssertionError("the step ran")
    with pytest.raises(UserError, match="was moved or copied"):
        pruning.plan(keep=1, days=0)
    done = CliRunner().invoke(app, ["models", "serve", "zegclip"])
    assert done.exit_code == 2 and "run `cascade-clip relocate`" in done.stderr


def test_models_are_listed_with_a_warning(copy: Path) -> None:
    done = CliRunner().invoke(app, ["models", "list"])
    assert done.exit_code == 0 and "zegclip" in done.stdout
    assert "was moved or copied" in done.stderr


def test_a_relocated_copy_names_its_own_files_only(copy: Path, store: Path) -> None:
    assert relocate() == (copy / "mlruns" / "mlflow.db", 4)
    own = (copy / "mlruns" / "artifacts").as_uri()
    assert all(location.startswith(own) for location in _locations())
    with tracked_step("splits", protocol=PROTOCOL) as tracker:
        pass
    assert tracker.run_id
    assert relocate()[1] == 0
    shutil.rmtree(copy)  # and the first store is as it was


def test_a_moved_store_is_mended_by_the_command(copy: Path, store: Path) -> None:
    shutil.rmtree(store / "mlruns")
    done = CliRunner().invoke(app, ["relocate"])
    assert done.exit_code == 0 and done.stdout.strip().endswith("mlflow.db: 4 addresses changed")
    client = open_store()
    check_place(client)
    (run,) = client.search_runs([experiment_id(client, PROTOCOL)])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["scores.json"]


def test_a_database_without_its_files_stays_as_it_is(copy: Path, store: Path) -> None:
    before = _locations()
    shutil.rmtree(copy / "mlruns" / "artifacts" / "models")
    with pytest.raises(
        UserError, match=r"lacks the files of zegclip version 1: put all files from .*work/mlruns"
    ):
        relocate()
    shutil.rmtree(copy / "mlruns" / "artifacts")
    with pytest.raises(UserError, match=r"put the files into .*a copy/mlruns/artifacts, and run"):
        relocate()
    assert _locations() == before


def test_a_folder_that_somebody_chose_is_no_move(store: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "big disk" / "artifacts"
    chosen.mkdir(parents=True)
    client = open_store()
    client.create_experiment("chosen", artifact_location=chosen.as_uri())
    client.create_experiment("bucket", artifact_location="s3://bucket/artifacts")
    assert displacement(client) is None


def test_a_link_to_the_project_is_no_move(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id(open_store(), PROTOCOL)
    (tmp_path / "link").symlink_to(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/link/mlruns/mlflow.db")
    assert displacement(open_store()) is None


def test_a_server_cannot_be_relocated(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setattr("components.tracking.displacement.sqlite_file", lambda _: None)
    with pytest.raises(UserError, match="a server knows its own files"):
        relocate()
