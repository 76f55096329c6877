"""`cascade-clip run` and its MLflow run, which exists only if a stage ran."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from cascade_core.errors import UserError
from cascade_core.runtime.files import write_json
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from pipelines.cli import workstation as commands
from pipelines.workstation import unfinished, workflow

PROTOCOL = "mini-18-6"


def _dvc(monkeypatch: pytest.MonkeyPatch, *, stages: int, status: int | BaseException) -> None:
    """Replace DVC by a function that runs tracked stages in the environment of the call."""

    def run(command: list[str], environment: dict[str, str]) -> int:
        assert command[1:3] == ["-m", "pipelines.workstation.repro"]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            for _ in range(stages):
                with tracked_step("evaluate", protocol=PROTOCOL, tags={"data_hash": "ab"}):
                    pass
        if isinstance(status, BaseException):
            raise status
        return status

    monkeypatch.setattr(workflow, "_run", run)


def _runs() -> list[Run]:
    client = open_store()
    experiment = client.get_experiment_by_name(PROTOCOL)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


@pytest.fixture(autouse=True)
def _project(store: Path) -> None:
    (store / "dvc.yaml").touch()


def test_stages_are_children_of_one_mlflow_run(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_single_stages_succeed_without_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _dvc(monkeypatch, stages=0, status=0)
    commands.run(["prepare", "splits"])
    lines = capsys.readouterr().out.splitlines()  # nothing ran, so that there is no result to print
    assert [line.split()[0] for line in lines] == ["MLflow", "runs"]
    with pytest.raises(ValueError, match=r"reports/benchmark\.json"):
        commands.run()


def test_a_check_between_stages_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(workflow, "_run", lambda command, _: calls.append(command[3:]) or 0)

    def refuse() -> None:
        raise UserError("vectors of other classes")

    with pytest.raises(UserError, match="vectors of other classes"):
        workflow.repro(jobs=3, first=("splits",), check=refuse)
    assert calls == [["--pull", "--jobs=3", "splits"]]
    workflow.repro(jobs=3, first=("splits",), check=lambda: None)
    assert calls[1:] == [["--pull", "--jobs=3", "splits"], ["--pull", "--jobs=3"]]


def test_an_interrupted_workflow_ends_as_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    _dvc(monkeypatch, stages=1, status=SystemExit(143))
    with pytest.raises(SystemExit):
        workflow.repro()
    (parent,) = (run for run in _runs() if run.info.run_name == "workflow")
    assert parent.info.status == "KILLED"
    assert not list(unfinished.WORKFLOWS.glob("*.run"))


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Let this process hear SIGINT, which a shell's background job ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_reaches_the_stage_and_is_waited_for(tmp_path: Path) -> None:
    stage = f"trap 'sleep 0.2; echo saved > {tmp_path}/saved; exit 130' INT; sleep 5 & wait"
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        workflow._run(["sh", "-c", stage], dict(os.environ))
    assert (tmp_path / "saved").is_file()


def test_the_next_start_closes_what_a_killed_workflow_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = unfinished.WORKFLOWS / "before.run"
    left.parent.mkdir(parents=True)
    monkeypatch.setenv("CASCADE_PARENT_FILE", str(left))
    step = tracked_step("train", protocol=PROTOCOL)
    step.__enter__()
    monkeypatch.delenv("CASCADE_PARENT_FILE")
    assert {run.info.status for run in _runs()} == {"RUNNING"}
    _dvc(monkeypatch, stages=1, status=0)
    workflow.repro()
    assert sorted(run.info.status for run in _runs()) == ["FINISHED"] * 2 + ["KILLED"] * 2
    assert not left.exists()


def test_a_second_workflow_in_the_folder_is_refused() -> None:
    with unfinished.only_workflow(), pytest.raises(UserError, match="another `cascade-clip run` works in"):
        workflow.repro()


def test_without_a_stage_there_is_no_mlflow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    _dvc(monkeypatch, stages=0, status=0)
    workflow.repro()
    assert _runs() == []


def test_a_store_that_is_away_does_not_fail_the_workflow(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise UserError("the MLflow store cannot be opened")

    _dvc(monkeypatch, stages=1, status=0)
    monkeypatch.setattr(workflow, "close_run", fail)
    workflow.repro()
    assert "the workflow's MLflow run stays open: the MLflow store cannot be opened" in caplog.text
    assert "CASCADE_PARENT_FILE" not in os.environ


def test_the_parent_shows_report_best_model_and_pictures(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = store / "reports"
    (reports / "comparison").mkdir(parents=True)
    (reports / "comparison" / "0001-best-a.png").touch()
    (reports / "report.html").touch()
    row = {"seed": 0, "miou_seen": 0.5, "miou_unseen": None, "pAcc": 0.7}
    rows = [
        {**row, "method": method, "setting": setting, "hiou": hiou}
        for method, setting, hiou in (
            ("zegclip", "inductive", 0.4), ("cascade_clip", "inductive", 0.45), ("zegclip", "control_words", 0.9)
        )
    ]  # fmt: skip
    write_json(reports / "benchmark.json", rows)
    _dvc(monkeypatch, stages=1, status=0)
    for targets in ((), ("train",)):
        workflow.repro(targets)
    of_targets, whole = (run for run in _runs() if run.info.run_name == "workflow")
    assert whole.data.metrics == {"best_hiou": 0.45, "best_miou_seen": 0.5}
    note = whole.data.tags["mlflow.note.content"]
    assert note.startswith(
        "`workflow` in the folder `work`\n\nBest: **cascade_clip inductive seed 0**, hIoU 45.0"
    )
    client = open_store()
    assert {file.path for file in client.list_artifacts(whole.info.run_id)} == {"report.html", "comparison"}
    assert "`comparison` shows pictures" in note and "confusion" not in note
    assert client.list_artifacts(of_targets.info.run_id) == [] and of_targets.data.metrics == {}
