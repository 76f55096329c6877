"""`pipeline verify` against the fake server: it finds what is there, says what is not, and leaves nothing behind."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.cluster import pod_probe
from pipelines.cli.app import app
from pipelines.kubeflow.reasons import FOREIGN
from tests.pipelines.kfp_server import Server


def reports(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, str]]:
    lines = [line.removeprefix(pod_probe.MARK) for line in capsys.readouterr().out.splitlines()]
    return {one["check"]: (one["holds"], one["detail"]) for one in map(json.loads, lines)}


@pytest.mark.slow  # three runs in processes of their own, which import kfp, MLflow and torch
def test_a_cluster_is_verified_and_left_clean(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.pipeline.POLL_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("CASCADE_TRACKING", raising=False)
    monkeypatch.setenv("CASCADE_CORES", "1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    volume = tmp_path / "volume"
    volume.mkdir()
    arguments = ["pipeline", "verify", "--host", server.host, "--folder", str(volume)]
    done = CliRunner().invoke(app, arguments)
    verdicts = {
        match[2].strip(): match[1].strip()
        for line in done.stdout.splitlines()
        if (match := re.match(r"(ok|mend|not seen) +(.*?)  ", line))
    }
    user = {"user"} if pod_probe.os.getuid() == 0 else set()
    assert {name for name, verdict in verdicts.items() if verdict == "mend"} == user, done.output
    assert {name for name, verdict in verdicts.items() if verdict == "not seen"} == {
        "links", "volume for many nodes", "quotas", "life of logs", "TrainJobs"
    }  # fmt: skip
    assert verdicts.keys() >= {
        "server", "versions", "schedules", "cancel", "retry policy", "volume", "launcher", "secret", "tracking server",
        "MLflow plugin", "object store", "cores", "image with torch", "artifacts", "clean-up",
    }  # fmt: skip
    assert done.exit_code == (3 if user else 0)
    assert "an exit code is not retried (OnError)" in done.stdout
    assert not (server.runs or server.pipelines or server.versions or server.schedules)
    assert not list(volume.iterdir())


def test_a_pod_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CASCADE_CORES", "1000")
    pod_probe.report_pod(str(tmp_path / "none"))
    lacking = reports(capsys)
    assert not lacking["volume"][0] and "bind the claim cascade-data" in lacking["volume"][1]
    assert not lacking["secret"][0] and "put it into the secret cascade-clip" in lacking["secret"][1]
    assert "tracking server" not in lacking
    assert not lacking["cores"][0]


@pytest.mark.parametrize(
    ("key", "holds", "detail"),
    [
        ("", True, "sees no AWS_ACCESS_KEY_ID"),
        ("ours", False, "take the secret out"),
        ("theirs", True, "not the secret's"),
    ],
)
def test_the_launcher_must_not_see_our_keys(
    key: str, holds: bool, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("CASCADE_AWS_ACCESS_KEY_ID", "ours")
    ((name, verdict, said),) = pod_probe.launcher()
    assert (name, verdict) == ("launcher", holds) and detail in said


def test_kubeflows_plugin_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000/")
    for endpoint in ("", "http://mlflow:5000", "http://me:plantedA@other"):
        monkeypatch.setenv("KFP_MLFLOW_CONFIG", json.dumps({"endpoint": endpoint, "parentRunId": "a"}))
        ((_, _, said[endpoint]),) = pod_probe.mlflow_plugin()
    none, same, other = said.values()
    assert none.startswith("none") and "below" in same and "joins them there" in other
    assert "plantedA" not in other


def test_an_object_store_that_is_away_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    ((name, holds, detail),) = pod_probe.object_store()
    assert (name, holds) == ("object store", False) and "http://127.0.0.1:9" in detail


def test_a_tracking_server_that_is_away_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("CASCADE_PATIENCE", raising=False)
    pod_probe.report_pod(str(tmp_path))
    lacking = reports(capsys)
    assert lacking["volume"][0] and lacking["secret"][0]
    assert not lacking["tracking server"][0] and "cannot be opened" in lacking["tracking server"][1]


def test_the_reports_are_no_lines_of_kubeflow() -> None:
    assert not FOREIGN.match(pod_probe.MARK)
