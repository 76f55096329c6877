"""`cascade-clip run` and its MLflow run: one where a stage ran, none where nothing did."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Run

from cascade_core.errors import UserError
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from pipelines.cli import workstation as commands
from pipelines.workstation import workflow

PROTOCOL = "mini-18-6"


def _dvc(monkeypatch: pytest.MonkeyPatch, *, stages: int, status: int) -> None:
    """Put something in DVC's place that runs tracked stages in the environment it is given."""

    def run(command: list[str], *, env: dict[str, str], check: bool) -> SimpleNamespace:
        assert command[1:4] == ["-m", "dvc", "repro"]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            for _ in range(stages):
                with tracked_step("evaluate", protocol=PROTOCOL, tags={"data_hash": "ab"}):
                    pass
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(workflow, "subprocess", SimpleNamespace(run=run))


def _runs() -> list[Run]:
    client = open_store()
    found = client.get_experiment_by_name(PROTOCOL)
    return list(client.search_runs([found.experiment_id])) if found else []


@pytest.fixture(autouse=True)
def _project(store: Path) -> None:
    (store / "dvc.yaml").touch()


def test_a_run_of_stages_is_one_parent_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    _dvc(monkeypatch, stages=2, status=0)
    workflow.repro()
    (parent,) = (run for run in _runs() if run.info.run_name == "workflow")
    assert (parent.info.status, parent.data.tags["data_hash"]) == ("FINISHED", "ab")
    children = [
        run.data.tags.get("mlflow.parentRunId") for run in _runs() if run.info.run_id != parent.info.run_id
    ]
    assert children == [parent.info.run_id] * 2


def test_a_stage_that_fails_fails_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    _dvc(monkeypatch, stages=1, status=255)
    with pytest.raises(ValueError, match="exit 255"):
        workflow.repro()
    (parent,) = (run for run in _runs() if run.info.run_name == "workflow")
    assert (parent.info.status, parent.data.tags["error"]) == ("FAILED", "dvc repro: exit 255")


def test_one_stage_alone_ends_well_where_there_is_no_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _dvc(monkeypatch, stages=0, status=0)
    commands.run(["prepare", "splits"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("done     prepare, splits; there is no report yet")
    assert second.startswith("MLflow ")
    with pytest.raises(ValueError, match=r"reports/benchmark\.json"):
        commands.run()


def test_where_nothing_ran_there_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    _dvc(monkeypatch, stages=0, status=0)
    workflow.repro()
    assert _runs() == []


def test_a_store_that_went_away_does_not_fail_the_workflow(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(**_: Any) -> None:
        raise UserError("the MLflow store cannot be opened")

    _dvc(monkeypatch, stages=1, status=0)
    monkeypatch.setattr(workflow, "close_run", lost)
    workflow.repro()
    assert "the workflow's MLflow run stays open: the MLflow store cannot be opened" in caplog.text
    assert "CASCADE_PARENT_FILE" not in os.environ


SERVED = "mlflow ui --backend-store-uri {} --host 127.0.0.1 --port 5000"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("", SERVED.format("sqlite:///mlruns/mlflow.db")),
        ("postgresql+psycopg2://db/runs", SERVED.format("postgresql+psycopg2://db/runs")),
        ("postgresql+psycopg2://me:s3cret@db/runs", SERVED.format('"$MLFLOW_TRACKING_URI"')),
        ("postgresql+psycopg2:///runs?user=me&password=s3cret", SERVED.format('"$MLFLOW_TRACKING_URI"')),
        ("https://me:s3cret@mlflow.example.org/runs", "https://me:***@mlflow.example.org/runs"),
        ("http://localhost:5000", "http://localhost:5000"),
    ],
)
def test_how_to_open_mlflows_pages_fits_the_store_and_shows_no_password(
    uri: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    pages = workflow.mlflow_pages()
    assert pages == told or pages.endswith(f"/{told}")
