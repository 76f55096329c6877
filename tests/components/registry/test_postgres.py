"""MLflow on PostgreSQL: the flow of a team, from a tracked step to a rollback, on a real server."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from components.registry import versions as registry
from components.tracking.run_record import record_folders
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from tests.components.candidates import register_candidate, write_model
from tests.components.postgres_server import PostgresServer, postgres_server

pytestmark = pytest.mark.postgres
PROTOCOL = "mini-18-6"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def database(server: PostgresServer) -> str:
    """The address of a database with MLflow's tables, created by two processes that open it at once."""
    uri = server.create("mlflow")
    program = "from components.tracking.store import open_store; open_store()"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    both = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    return uri


@pytest.fixture(autouse=True)
def _store(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    for variable in ("CASCADE_TRACKING", "CASCADE_PARENT_RUN", "CASCADE_PARENT_FILE"):
        monkeypatch.delenv(variable, raising=False)


def test_a_step_logs_parameters_tags_and_metrics() -> None:
    with tracked_step(
        "train", protocol=PROTOCOL, parameters={"a": {"b": 1}}, tags={"data_hash": "ab"}
    ) as tracker:
        for step in (1, 2):
            tracker.metrics({"loss": 1 / step, "iou": float("nan")}, step=step)
    assert tracker.run_id
    client = open_store()
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"a.b": "1"})
    assert run.inputs.dataset_inputs[0].dataset.digest == "ab"
    curve = client.get_metric_history(tracker.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5)]


def test_a_rollback_undoes_the_gates_promotion(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    first, worse, better = (
        register_candidate(folder, tmp_path / f"{hiou}", "gated", hiou=hiou) for hiou in (0.48, 0.4, 0.6)
    )
    assert [candidate.champion for candidate in (first, worse, better)] == [True, False, True]
    assert "worse: hIoU 40.00 against 48.00" in worse.reason
    client = open_store()
    assert registry.history(client, "gated") == [1, 3]
    assert registry.roll_back(client, "gated").number == 1
    champion = registry.champion(client, "gated")
    assert champion is not None and champion.number == 1 and champion.tags["hiou"] == "0.48"


def test_one_of_several_concurrent_promotions_wins() -> None:
    client, together = open_store(), Barrier(4)
    client.create_registered_model("contested")
    for _ in range(4):
        client.create_model_version("contested", "file:///nowhere")

    def won(number: int) -> bool:
        together.wait(timeout=60)
        while registry.champion(client, "contested") is None:
            try:
                registry.promote(client, "contested", number, expected=None, reason="first")
            except registry.ChampionMovedError:
                time.sleep(random.uniform(0, 0.5))
            else:
                return True
        return False

    with ThreadPoolExecutor(4) as pool:
        winners = [number for number, promoted in enumerate(pool.map(won, range(1, 5)), 1) if promoted]
    champion = registry.champion(client, "contested")
    assert champion is not None and winners == [champion.number]


def test_a_step_without_its_server_is_recorded_later_once(
    server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    with tracked_step("evaluate", protocol=PROTOCOL, out=out) as tracker:
        tracker.metrics({"loss": 3.0}, step=1)
        tracker.flush()
        out.mkdir()
        server.stop()
        try:
            tracker.metrics({"loss": 2.0}, step=2)
            tracker.tags({"split": "test"})
        except BaseException:
            server.start()
            raise
    assert f"the step ended well; once the store is back: cascade-clip record {out}" in caplog.text
    assert server.password not in caplog.text
    server.start()
    for _ in range(2):
        assert record_folders([out]) == [tracker.run_id]
        client = open_store()
        assert tracker.run_id
        run = client.get_run(tracker.run_id)
        assert (run.info.status, run.data.tags["split"]) == ("FINISHED", "test")
        curve = client.get_metric_history(tracker.run_id, "loss")
        assert [(point.step, point.value) for point in curve] == [(1, 3.0), (2, 2.0)]


@pytest.mark.parametrize("wrong", ["password", "port"])
def test_an_unusable_server_is_reported_without_password(
    wrong: str, server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = {"password": (server.password, "wr0ng"), "port": (f":{server.port}", ":1")}[wrong]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.replace(*replaced))
    began = time.monotonic()
    with pytest.raises(
        ValueError, match=r"postgresql\+psycopg2://mlflow:\*\*\*@127.* cannot be opened"
    ) as raised:
        open_store()
    assert "wr0ng" not in str(raised.value) and server.password not in str(raised.value)
    assert time.monotonic() - began < 30
