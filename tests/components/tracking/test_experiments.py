"""Experiments are described once, and their tables of runs can be reached from a terminal."""

import logging
from pathlib import Path

import pytest

from components.results.accepted import EXPERIMENT as RERUNS
from components.tracking.experiments import NOTE_TAG, NOTES, experiment_id
from components.tracking.page_links import where_runs_are, where_runs_of
from components.tracking.pipeline_run import whole_run
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step

PROTOCOL = "mini-18-6"
SERVED = "/mlflow ui --backend-store-uri {} --host 127.0.0.1 --port 5000"
LOCAL = "http://127.0.0.1:5000"


def _notes(*names: str) -> list[str | None]:
    client = open_store()
    return [client.get_experiment(experiment_id(client, name)).tags.get(NOTE_TAG) for name in names]


def test_a_new_experiment_is_described(store: Path) -> None:
    public, own, reruns = _notes(PROTOCOL, "pets", RERUNS)
    assert public is not None and "24 classes, of which unseen: tiger, mushroom" in public
    assert own is not None and own.startswith("Protocol `pets`")
    assert reruns == NOTES[RERUNS]


def test_a_users_own_description_stays(store: Path) -> None:
    client = open_store()
    for name, text in (("described", "mine"), ("emptied", "")):
        client.create_experiment(name, tags={NOTE_TAG: text})
    client.create_experiment("of an earlier version")
    assert _notes("described", "emptied") == ["mine", ""]
    (added,) = _notes("of an earlier version")
    assert added and added.startswith("Protocol `of an earlier version`")


@pytest.mark.parametrize(
    ("uri", "command", "page"),
    [
        ("", SERVED.format("sqlite:///{folder}/mlruns/mlflow.db"), LOCAL),
        ("postgresql+psycopg2://db/runs", SERVED.format("postgresql+psycopg2://db/runs"), LOCAL),
        ("postgresql+psycopg2://me:s3cret@db/runs", SERVED.format('"$MLFLOW_TRACKING_URI"'), LOCAL),
        (
            "postgresql+psycopg2:///runs?user=me&password=s3cret",
            SERVED.format('"$MLFLOW_TRACKING_URI"'),
            LOCAL,
        ),
        ("https://me:s3cret@mlflow.example.org/runs", None, "https://mlflow.example.org/runs"),
        ("http://localhost:5001", None, "http://localhost:5001"),
    ],
)
def test_the_table_of_runs_is_reached_without_a_password(
    uri: str, command: str | None, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    *commands, table = where_runs_are("7")
    assert table == f"{page}/#/experiments/7/runs"
    assert where_runs_are(None)[-1] == page
    if command is None:
        assert not commands
    else:
        (line,) = commands
        assert line.endswith(command.format(folder=tmp_path))


def test_looking_for_the_runs_makes_no_store_and_no_experiment(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert where_runs_of("nobody's")[-1] == LOCAL
    assert open_store().get_experiment_by_name("nobody's") is None
    monkeypatch.chdir(store.parent)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow set it to the store before
    assert where_runs_of(PROTOCOL)[-1] == LOCAL and not (store.parent / "mlruns").exists()
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    assert where_runs_of(PROTOCOL) == []


def test_a_single_step_and_a_whole_run_lead_to_their_table(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with tracked_step("splits", protocol=PROTOCOL):
        pass
    (line,) = (record.message for record in caplog.records if "#/experiments/" in record.message)
    experiment = experiment_id(open_store(), PROTOCOL)
    assert line.startswith("splits in MLflow: ") and line.endswith(f"/#/experiments/{experiment}/runs")
    caplog.clear()
    with whole_run(pipeline="reproduce", protocol=PROTOCOL), tracked_step("splits", protocol=PROTOCOL):
        pass
    (line,) = (record.message for record in caplog.records if "#/experiments/" in record.message)
    assert line.startswith("runs in MLflow: ")
