"""Parent runs: steps become their children, and a pipeline's end is logged after any failure."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from requests import exceptions as http

from cascade_core.errors import UserError
from components.tracking import kubeflow_run, page_links, pipeline_run
from components.tracking.store import open_store
from components.tracking.tracker import tracked_step
from tests.http_listener import listening

PROTOCOL = "mini-18-6"
RECORDINGS = Path(__file__).parents[2] / "pipelines" / "kubeflow" / "recordings"


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    for name in ("KFP_RUN_ID", "CASCADE_IMAGE", "CASCADE_PARENT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return open_store()


def _step(**tags: object) -> str:
    with tracked_step("splits", protocol=PROTOCOL, tags=tags) as tracker:
        pass
    assert tracker.run_id
    return tracker.run_id


def test_steps_become_children_and_share_their_data_tags(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_IMAGE", "registry/image@sha256:12")
    parent = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-1")
    monkeypatch.setenv("CASCADE_PARENT_RUN", parent)
    monkeypatch.setenv("KFP_RUN_ID", "kfp-1")
    child = client.get_run(_step(data_hash="ab", split="test"))
    assert child.data.tags["mlflow.parentRunId"] == parent
    assert (child.data.tags["kfp_run"], child.data.tags["image"]) == ("kfp-1", "registry/image@sha256:12")
    pipeline_run.close_run(run_id=parent, succeeded=True)
    run = client.get_run(parent)
    assert run.info.status == "FINISHED" and str(run.info.run_name).startswith("zero-shot 20")
    tags = {
        name: run.data.tags.get(name) for name in ("pipeline", "protocol", "kfp_run", "data_hash", "split")
    }
    assert tags == {
        "pipeline": "zero-shot", "protocol": PROTOCOL, "kfp_run": "kfp-1", "data_hash": "ab", "split": "test"
    }  # fmt: skip
    assert run.data.tags["git_commit"] and run.data.tags["image"] == "registry/image@sha256:12"


def test_a_pipelines_run_hangs_below_that_of_kubeflows_plugin(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = client.create_run(client.create_experiment("Default of Kubeflow")).info.run_id
    for endpoint, run_id, parent in (
        (client.tracking_uri, theirs, theirs),
        (client.tracking_uri, "unknown", None),
        ("http://elsewhere:5000", theirs, None),
    ):
        settings = {"endpoint": endpoint, "parentRunId": run_id}
        monkeypatch.setenv("KFP_MLFLOW_CONFIG", json.dumps(settings))
        ours = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-1")
        assert client.get_run(ours).data.tags.get("mlflow.parentRunId") == parent


def test_steps_in_other_experiments_get_the_kubeflow_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = pipeline_run.open_run(pipeline="cross-dataset", protocol="cross-dataset", kfp_run="kfp-2")
    monkeypatch.setenv("CASCADE_PARENT_RUN", parent)
    child = client.get_run(_step(data_hash="cd"))
    killed = client.create_run(child.info.experiment_id, tags={"mlflow.parentRunId": parent})
    assert child.data.tags["kfp_run"] == "kfp-2"
    pipeline_run.close_run(run_id=parent, succeeded=True)
    assert client.get_run(parent).data.tags["data_hash"] == "cd"
    assert client.get_run(killed.info.run_id).info.status == "KILLED"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "report.html").write_text("<p>hIoU</p>")
    return tmp_path / "report.html"


def test_a_pipelines_run_has_its_best_scores_and_its_page(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, page: Path
) -> None:
    monkeypatch.setenv("CASCADE_KUBEFLOW_PAGE", "https://kubeflow.example/pipeline/")
    parent = pipeline_run.open_run(pipeline="ablation", protocol=PROTOCOL, kfp_run="kfp-best")
    monkeypatch.setenv("CASCADE_PARENT_RUN", parent)
    for seed, score in ((0, 0.25), (1, 0.5)):
        parameters = {"recipe": "mini_zegclip"}
        with tracked_step(
            "evaluate", protocol=PROTOCOL, method="zegclip", seed=seed, parameters=parameters
        ) as tracker:
            tracker.metrics({"hiou": score})
        assert tracker.run_id
        assert client.get_run(tracker.run_id).info.run_name == f"evaluate zegclip seed {seed}"
    kubeflow_run.finish(parent, page, ends=False)
    assert client.get_run(parent).info.status == "RUNNING"
    kubeflow_run.finish(parent, page)
    run = client.get_run(parent)
    assert run.info.status == "FINISHED" and run.data.metrics == {"best_hiou": 0.5}
    gathered = [run.data.tags[name] for name in ("recipes", "methods", "seeds")]
    assert gathered == ["mini_zegclip", "zegclip", "0, 1"]
    assert run.data.tags["mlflow.note.content"] == (
        "[Kubeflow run kfp-best](https://kubeflow.example/pipeline/#/runs/details/kfp-best)\n\n"
        "Best: **zegclip seed 1**, hIoU 50.0.\n\n"
        "The page of the results is the artifact `report.html`."
    )
    assert [file.path for file in client.list_artifacts(parent)] == ["report.html"]


def test_the_best_model_is_that_of_the_reports_split(client: MlflowClient) -> None:
    with pipeline_run.whole_run(pipeline="reproduce", protocol=PROTOCOL):
        for split, score in (("val", 0.5), ("test", 0.25)):
            with tracked_step("evaluate", protocol=PROTOCOL, tags={"split": split}) as tracker:
                tracker.metrics({"hiou": score})
        with tracked_step("report", protocol=PROTOCOL, tags={"split": "test"}) as tracker:
            parent = client.get_run(str(tracker.run_id)).data.tags["mlflow.parentRunId"]
    run = client.get_run(parent)
    assert run.data.metrics == {"best_hiou": 0.25}
    assert "hIoU 25.0" in run.data.tags["mlflow.note.content"]


def test_a_page_that_cannot_be_kept_costs_a_warning(
    client: MlflowClient, kfp_parent: str, monkeypatch: pytest.MonkeyPatch, page: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def refuse(*_: Any) -> None:
        raise MlflowException("the artifact store is away")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    kubeflow_run.finish(kfp_parent, page)
    assert client.get_run(kfp_parent).info.status == "FINISHED"
    assert "lacks the page of its results (the artifact store is away)" in caplog.text


def test_kubeflows_page_leads_to_the_run_in_mlflow(
    client: MlflowClient, kfp_parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "in a store that serves no pages" in kubeflow_run.links(run_id=kfp_parent, protocol=PROTOCOL)
    monkeypatch.setenv("CASCADE_MLFLOW_PAGE", "https://me:s3cret@mlflow.example/")
    experiment = client.get_run(kfp_parent).info.experiment_id
    text = kubeflow_run.links(run_id=kfp_parent, protocol=PROTOCOL)
    table = f"https://mlflow.example/#/experiments/{experiment}/runs"
    assert f"]({table}/{kfp_parent})" in text and f"[all runs of {PROTOCOL}]({table})" in text
    assert "s3cret" not in text and "your browser needs another" not in text


def test_the_pods_own_address_is_shown_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@mlflow.team.svc:5000")
    text = page_links.pipeline_note("1", PROTOCOL, "ab")
    assert "http://mlflow.team.svc:5000/#/experiments/1/runs/ab" in text and "s3cret" not in text
    assert "put it into the secret's key `CASCADE_MLFLOW_PAGE`" in text


def test_a_wrong_address_of_a_page_is_refused_at_the_start(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_KUBEFLOW_PAGE", "kubeflow.example")
    with pytest.raises(UserError, match="CASCADE_KUBEFLOW_PAGE is 'kubeflow.example', which does not start"):
        pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-x")


def test_a_missing_parent_does_not_fail_a_step(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_PARENT_RUN", "0" * 32)
    assert client.get_run(_step()).info.status == "FINISHED"


def test_a_failed_pipeline_ends_killed_steps_and_says_why(client: MlflowClient) -> None:
    parent = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run=None)
    experiment = client.get_run(parent).info.experiment_id
    killed = client.create_run(experiment, tags={"mlflow.parentRunId": parent})
    pipeline_run.close_run(run_id=parent, succeeded=False, error="train: out of memory")
    run = client.get_run(parent)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "train: out of memory")
    assert client.get_run(killed.info.run_id).info.status == "KILLED"


@pytest.mark.parametrize("call", ["open", "close"])
def test_the_first_and_last_step_wait_for_the_store(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", "60")
    monkeypatch.setattr("components.servers.patience.FIRST_PAUSE", 0.01)
    parent = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-away")
    name = {"open": "create_run", "close": "set_terminated"}[call]
    real, faults = getattr(MlflowClient, name), [http.ConnectionError("refused")] * 2

    def away(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        if faults:
            raise MlflowException("API request failed") from faults.pop()
        return real(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, name, away)
    if call == "open":
        parent = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-away")
        assert client.get_run(parent).info.status == "RUNNING"
    else:
        kubeflow_run.close(kfp_run="kfp-away", protocol=PROTOCOL, state="COMPLETE", error=None)
        assert client.get_run(parent).info.status == "FINISHED"
    assert not faults and caplog.text.count("does not answer") == 2


def _failing(**tags: object) -> None:
    with (
        pytest.raises(KeyError),
        tracked_step("train", protocol=PROTOCOL, tags=tags),
    ):
        raise KeyError("lava")


@pytest.fixture
def kfp_parent(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> str:
    parent = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run=f"kfp-{uuid4().hex}")
    monkeypatch.setenv("CASCADE_PARENT_RUN", parent)
    return parent


def _closed(client: MlflowClient, parent: str, state: str, error: str | None = None) -> Run:
    kfp_run = client.get_run(parent).data.tags["kfp_run"]
    kubeflow_run.close(kfp_run=kfp_run, protocol=PROTOCOL, state=state, error=error)
    return client.get_run(parent)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("SUCCEEDED", "FINISHED"),
        ("COMPLETE", "FINISHED"),
        ("FAILED", "FAILED"),
        ("CANCELED", "KILLED"),
        ("RUNNING", "KILLED"),
    ],
)
@pytest.mark.parametrize("steps", [0, 1])
def test_a_pipeline_ends_with_the_servers_state(
    client: MlflowClient, kfp_parent: str, state: str, status: str, steps: int
) -> None:
    for _ in range(steps):
        _step()
    run = _closed(client, kfp_parent, state)
    assert run.info.status == status
    assert bool(run.data.tags.get("error")) == (status != "FINISHED")


def test_the_last_gathering_step_finishes_the_run(client: MlflowClient, kfp_parent: str, page: Path) -> None:
    _step(data_hash="ab")
    kubeflow_run.finish(kfp_parent, page)
    assert client.get_run(kfp_parent).data.tags["data_hash"] == "ab"
    assert _closed(client, kfp_parent, "RUNNING").info.status == "FINISHED"


def test_a_retried_run_is_open_again_until_its_last_step(
    client: MlflowClient, kfp_parent: str, page: Path
) -> None:
    _failing(seed=0)
    assert _closed(client, kfp_parent, "FAILED", "").info.status == "FAILED"
    with tracked_step("train", protocol=PROTOCOL, tags={"seed": 0}):
        again = client.get_run(kfp_parent)
        assert again.info.status == "RUNNING" and "error" not in again.data.tags
    kubeflow_run.finish(kfp_parent, page)
    assert client.get_run(kfp_parent).info.status == "FINISHED"


def test_a_step_killed_for_memory_is_a_reason(client: MlflowClient, kfp_parent: str) -> None:
    tags = {"mlflow.parentRunId": kfp_parent, "step": "train"}
    killed = client.create_run(client.get_run(kfp_parent).info.experiment_id, tags=tags)
    run = _closed(client, kfp_parent, "FAILED")
    assert run.info.status == "FAILED"
    assert run.data.tags["error"].startswith(
        "train: its process ended without a word: killed for lack of memory"
    )
    step = client.get_run(killed.info.run_id)
    assert step.info.status == "KILLED" and "time limit" in step.data.tags["error"]


@pytest.mark.parametrize(
    ("recording", "status", "error"),
    [
        ("run_cancelled", "KILLED", "the pipeline was cancelled"),
        ("run_failed_oom", "FAILED", "prepare: failed without a word: killed for lack of memory"),
        ("run_failed_in_loop", "FAILED", "fails: failed without a word"),
    ],
)
def test_the_kubeflow_server_says_why_a_run_ended(
    client: MlflowClient,
    kfp_parent: str,
    monkeypatch: pytest.MonkeyPatch,
    recording: str,
    status: str,
    error: str,
) -> None:
    with _kubeflow(monkeypatch, recording):
        run = _closed(client, kfp_parent, "RUNNING")
    assert run.info.status == status
    assert run.data.tags["error"].startswith(error)


def test_the_next_pipeline_ends_what_an_earlier_one_left(
    client: MlflowClient, kfp_parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "kfp-later")
    with _kubeflow(monkeypatch, "run_running"):
        kubeflow_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-later")
        assert client.get_run(kfp_parent).info.status == "RUNNING"
    with _kubeflow(monkeypatch, "run_failed_oom"):
        latest = kubeflow_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-last")
    assert client.get_run(kfp_parent).info.status == "FAILED"
    assert client.get_run(latest).info.status == "RUNNING"


@contextmanager
def _kubeflow(monkeypatch: pytest.MonkeyPatch, recording: str) -> Iterator[None]:
    """Answer all requests for a run with a recorded one, at the address that pods find in their environment."""
    answer = json.loads((RECORDINGS / f"{recording}.json").read_text())["answer"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as port:
        monkeypatch.setenv("ML_PIPELINE_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("ML_PIPELINE_SERVICE_PORT", str(port))
        yield


def test_a_failed_pipeline_repeats_its_steps_error(client: MlflowClient, kfp_parent: str) -> None:
    _failing()
    assert _closed(client, kfp_parent, "FAILED", "").data.tags["error"] == "train: KeyError: 'lava'"


def test_the_last_tries_decide_a_pipeline_still_running(client: MlflowClient, kfp_parent: str) -> None:
    _failing(seed=0)
    failed = _closed(client, kfp_parent, "RUNNING")
    assert (failed.info.status, failed.data.tags["kfp_state"]) == ("FAILED", "RUNNING")
    with tracked_step("train", protocol=PROTOCOL, tags={"seed": 0}):
        pass
    assert _closed(client, kfp_parent, "RUNNING").info.status == "KILLED"


def _runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name(PROTOCOL)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_the_first_step_opens_the_run_that_others_join(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "note"
    monkeypatch.setenv("CASCADE_PARENT_FILE", str(note))
    assert not _runs(client)
    children = {_step(), _step()}
    parent = note.read_text()
    assert {run.info.run_id for run in _runs(client)} == {parent, *children}
    assert {client.get_run(child).data.tags["mlflow.parentRunId"] for child in children} == {parent}


def test_without_tracking_no_run_is_opened_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    assert pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL) == ""
    pipeline_run.close_run(run_id="", succeeded=True)


def test_a_missing_run_cannot_be_closed(client: MlflowClient) -> None:
    with pytest.raises(ValueError, match="no run 'f{32}' to close"):
        pipeline_run.close_run(run_id="f" * 32, succeeded=True)


def test_a_training_logs_the_machines_load(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    from time import sleep

    with tracked_step("train", protocol=PROTOCOL) as tracker:
        sleep(0.6)
    assert tracker.run_id
    assert "system/system_memory_usage_megabytes" in client.get_run(tracker.run_id).data.metrics


def test_a_whole_run_ends_as_its_block_does(client: MlflowClient) -> None:
    with pipeline_run.whole_run(pipeline="rerun", protocol=PROTOCOL):
        inside = client.get_run(_step())
    parent = client.get_run(inside.data.tags["mlflow.parentRunId"])
    assert (parent.info.run_name, parent.info.status) == ("rerun", "FINISHED")
    assert "mlflow.parentRunId" not in client.get_run(_step()).data.tags
    with pytest.raises(KeyboardInterrupt), pipeline_run.whole_run(pipeline="rerun", protocol=PROTOCOL):
        raise KeyboardInterrupt
    (killed,) = client.search_runs([parent.info.experiment_id], "attributes.status = 'KILLED'")
    assert killed.data.tags["error"].startswith("KeyboardInterrupt")
