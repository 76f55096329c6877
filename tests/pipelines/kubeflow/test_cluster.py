"""Talking to a server: what is told of each way in which that goes wrong, and what is tried again."""

import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.kubeflow.cluster import Cluster, connect
from pipelines.kubeflow.submit import open_experiment, status, submit
from tests.pipelines.conftest import HASTY, QUICK
from tests.pipelines.kfp_server import Fault, Server, serving

GOOD = {"text": "a", "expected": "aa"}
SECRET = "s3cr3t-t0k3n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["", "localhost:8080", "ftp://there", "http://", "https://me:pass@there"])
def test_an_address_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host") as refused:
        connect(host)
    assert "pass@" not in str(refused.value)


def test_a_server_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.kubeflow.cluster.BRIEF", HASTY)
    host = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ValueError, match=r"cannot be reached \(.*refused\); check --host") as told:
        connect(host)
    assert "\n" not in str(told.value)


def test_a_refused_token_is_told_at_once_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(Server(tmp_path, token="another")) as server:
        with pytest.raises(ValueError, match="expired \\(401\\); get a new one") as told:
            connect(server.host, token=SECRET)
        assert len(server.requests) == 1
    shown = capsys.readouterr()
    assert SECRET not in f"{told.value}{caplog.text}{shown.out}{shown.err}"


def test_a_token_that_is_taken_is_sent_but_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(Server(tmp_path, token=SECRET)) as server:
        found = connect(server.host, token=f"{SECRET}\n", patience=QUICK)
        open_experiment(found, "e")
        assert server.experiments
    shown = capsys.readouterr()
    assert SECRET not in f"{found}{caplog.text}{shown.out}{shown.err}"


def test_a_token_that_cannot_be_one_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="the token holds") as told:
        connect("http://127.0.0.1:1", token=f"{SECRET}\r\nX: y")
    assert SECRET not in str(told.value)


def test_a_page_that_is_no_api_is_told(server: Server) -> None:
    server.faults.append(Fault("GET", "/healthz", "<html>log in</html>"))
    with pytest.raises(ValueError, match="not as Kubeflow Pipelines does"):
        connect(server.host)


def test_a_server_with_namespaces_wants_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client's own memory of a namespace, in the home folder, is none of the test's.
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))
    with serving(Server(tmp_path, namespaces=("ours",))) as server:
        with pytest.raises(ValueError, match="--namespace or KFP_NAMESPACE"):
            connect(server.host)
        assert open_experiment(connect(server.host, namespace="ours"), "e")
        with pytest.raises(ValueError, match=r"no access to namespace 'theirs', or there is none"):
            open_experiment(connect(server.host, namespace="theirs"), "e")


@pytest.mark.parametrize("kind", [429, 502, 503, 504, "reset"])
def test_what_passes_is_tried_again(cluster: Cluster, server: Server, kind: int | str) -> None:
    server.faults += [Fault("POST", "/experiments", kind)] * 2
    assert open_experiment(cluster, "e") in server.experiments


@pytest.mark.parametrize("kind", [400, 403, 404, 409, 500])
def test_what_does_not_pass_is_asked_once(cluster: Cluster, server: Server, kind: int) -> None:
    server.faults.append(Fault("POST", "/experiments", kind))
    with pytest.raises(ValueError, match=f"experiment 'e'.*{kind}|name is taken"):
        open_experiment(cluster, "e")
    assert [request[:2] for request in server.requests].count(("POST", "/apis/v2beta1/experiments")) == 1


def test_a_server_that_stays_away_is_told_after_patience_is_lost(cluster: Cluster, server: Server) -> None:
    server.faults += [Fault("GET", "/experiments", 503)] * 1000
    with pytest.raises(ValueError, match="stays unavailable \\(503"):
        open_experiment(replace(cluster, patience=HASTY), "e")
    assert len(server.requests) > 2


@pytest.mark.parametrize("kind", [503, "lost"])
def test_a_run_whose_answer_was_lost_is_not_started_twice(
    cluster: Cluster, server: Server, tiny: Path, kind: int | str
) -> None:
    server.faults.append(Fault("POST", "/runs", kind))
    run = submit(cluster, tiny, parameters=GOOD, experiment="e", name="once")
    assert list(server.runs) == [run.run_id]


def test_an_archived_experiment_is_told_with_the_way_out(
    cluster: Cluster, server: Server, tiny: Path
) -> None:
    server.experiments[open_experiment(cluster, "old")]["storage_state"] = "ARCHIVED"
    with pytest.raises(ValueError, match=r"experiment 'old' is archived.*restore it"):
        submit(cluster, tiny, parameters=GOOD, experiment="old")
    assert not server.runs


def test_an_experiment_name_that_something_deleted_still_holds_is_told(
    cluster: Cluster, server: Server
) -> None:
    server.faults.append(Fault("POST", "/experiments", 409))
    with pytest.raises(ValueError, match="experiment 'e': the name is taken, maybe by something deleted"):
        open_experiment(cluster, "e")


def test_an_unknown_run_is_told(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match=r"run 'nope': it is not known there \(404\)"):
        status(cluster, "nope")
