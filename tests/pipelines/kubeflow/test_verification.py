"""`pipeline verify` against the fake server: it finds what is there, says what is not, and leaves nothing behind."""

import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from components.cluster import pod_probe
from components.tracking import pipeline_run
from components.tracking.store import open_store
from components.trial import mini
from pipelines.cli.app import app
from pipelines.kubeflow import trial_run
from pipelines.kubeflow.cluster import Connection
from pipelines.kubeflow.findings import Verification
from pipelines.kubeflow.reasons import FOREIGN
from pipelines.kubeflow.submit import RunStatus
from tests.pipelines.kfp_server import Server


def reports(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, str]]:
    lines = [line.removeprefix(pod_probe.MARK) for line in capsys.readouterr().out.splitlines()]
    return {one["check"]: (one["holds"], one["detail"]) for one in map(json.loads, lines)}


@pytest.mark.slow  # five runs in processes of their own, which import kfp, MLflow and torch; one trains
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
        "MLflow plugin", "object store", "cores", "image with torch", "artifacts", "benchmark on the volume", "training",
        "run in MLflow", "removal", "clean-up",
    }  # fmt: skip
    assert done.exit_code == (3 if user else 0)
    assert "an exit code is not retried (OnError)" in done.stdout
    assert not (server.runs or server.pipelines or server.versions or server.schedules)
    assert not list(volume.iterdir())
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    assert client.search_runs(experiments) == []
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


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


def test_a_trial_without_its_data_is_not_tried(cluster: Connection) -> None:
    seen = Verification(cluster, every=0.0, minutes=1.0)
    trial_run.check(seen, {}, "/data", None)
    (finding,) = seen.findings
    assert (finding.check, finding.verdict) == ("training", "not seen")
    assert finding.detail == "not tried: the run did not end within 1 minutes"


def test_a_slow_trial_is_cancelled_before_it_is_removed(
    cluster: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, states = [], {"ablation": "RUNNING"}

    def run(name: str) -> RunStatus:
        return RunStatus(name, name, states.get(name, "SUCCEEDED"), "link", ())

    def submit(_: object, package: Path, **__: object) -> RunStatus:
        calls.append(f"submit {package}")
        return run(str(package))

    def terminate(_: object, run_id: str) -> None:
        calls.append(f"terminate {run_id}")
        states[run_id] = "CANCELED"

    monkeypatch.setattr(trial_run, "submit", submit)
    monkeypatch.setattr(trial_run, "status", lambda _, run_id: run(run_id))
    monkeypatch.setattr(trial_run, "terminate", terminate)
    seen = Verification(cluster, every=0.0, minutes=0.0)
    packages = {"ablation": Path("ablation"), "verify_removal": Path("removal")}
    trial_run.check(seen, packages, "/data", run("looked"))
    assert calls == ["submit ablation", "terminate ablation", "submit removal"]
    assert [(one.check, one.verdict) for one in seen.findings] == [
        ("training", "not seen"), ("run in MLflow", "not seen"), ("removal", "not seen")
    ]  # fmt: skip
    assert "look for /data/cascade-verify-looked on the volume" in seen.findings[-1].detail


def test_a_trials_run_is_looked_at_and_removed(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, folder = open_store(), mini.trial_folder(str(tmp_path), "drawn")
    (folder / "data").mkdir(parents=True)
    ours, other = (
        pipeline_run.open_run(pipeline="ablation", protocol="mini-18-6", kfp_run=kfp_run)
        for kfp_run in ("kfp-trial", "kfp-other")
    )
    experiment = client.get_run(ours).info.experiment_id
    tags = {"mlflow.parentRunId": ours, "step": "train", "mlflow.source.name": "cascade-clip train"}
    step = client.create_run(experiment, tags=tags).info.run_id
    client.log_metric(ours, "best_hiou", 0.5)
    for run in (ours, step):
        client.set_terminated(run)
    mini.look_and_remove(folder, "kfp-trial")
    said = reports(capsys)
    assert said["run in MLflow"][0] and "FINISHED, 1 runs of steps, with scores" in said["run in MLflow"][1]
    assert said["removal"][0] and not folder.exists()
    left = client.search_runs([experiment])
    assert [run.info.run_id for run in left] == [other]
    mini.look_and_remove(tmp_path, "kfp-trial")
    assert tmp_path.is_dir(), "only a folder of its own is removed"
    assert reports(capsys)["run in MLflow"] == (False, "the trial has no run there; its steps' logs say why")


def test_the_reports_are_no_lines_of_kubeflow() -> None:
    assert not FOREIGN.match(pod_probe.MARK)
