"""The connection to a server: its error messages and its retries."""

import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.kubeflow.cluster import Connection, connect
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
def test_a_malformed_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host") as refusal:
        connect(host)
    assert "pass@" not in str(refusal.value)


def test_an_unreachable_server_fails_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.kubeflow.cluster.BRIEF", HASTY)
    host = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ValueError, match=r"cannot be reached \(.*refused\); check --host") as refusal:
        connect(host)
    assert "\n" not in str(refusal.value)


def test_a_refused_token_fails_at_once_and_is_never_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(Server(tmp_path, token="another")) as server:
        with pytest.raises(ValueError, match="expired \\(401\\); get a new one") as refusal:
            connect(server.host, token=SECRET)
        assert len(server.requests) == 1
    streams = capsys.readouterr()
    assert SECRET not in f"{refusal.value}{caplog.text}{streams.out}{streams.err}"


def test_an_accepted_token_is_never_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(Server(tmp_path, token=SECRET)) as server:
        connection = connect(server.host, token=f"{SECRET}\n", patience=QUICK)
        open_experiment(connection, "e")
        assert server.experiments
    streams = capsys.readouterr()
    assert SECRET not in f"{connection}{caplog.text}{streams.out}{streams.err}"


def test_a_malformed_token_is_refused_and_not_printed() -> None:
    with pytest.raises(ValueError, match="the token holds") as refusal:
        connect("http://127.0.0.1:1", token=f"{SECRET}\r\nX: y")
    assert SECRET not in str(refusal.value)


def test_a_login_page_is_not_taken_for_the_api(server: Server) -> None:
    server.faults.append(Fault("GET", "/healthz", "<html>log in</html>"))
    with pytest.raises(ValueError, match="not as Kubeflow Pipelines does"):
        connect(server.host)


def test_a_server_with_namespaces_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client remembers a namespace in the home folder, which must not decide the test.
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))
    with serving(Server(tmp_path, namespaces=("ours",))) as server:
        with pytest.raises(ValueError, match="--namespace or KFP_NAMESPACE"):
            connect(server.host)
        assert open_experiment(connect(server.host, namespace="ours"), "e")
        with pytest.raises(ValueError, match=r"no access to namespace 'theirs', or there is none"):
            open_experiment(connect(server.host, namespace="theirs"), "e")


@pytest.mark.parametrize("kind", [429, 502, 503, 504, "reset"])
def test_transient_faults_are_retried(cluster: Connection, server: Server, kind: int | str) -> None:
    server.faults += [Fault("POST", "/experiments", kind)] * 2
    assert open_experiment(cluster, "e") in server.experiments


@pytest.mark.parametrize("kind", [400, 403, 404, 409, 500])
def test_other_faults_are_not_retried(cluster: Connection, server: Server, kind: int) -> None:
    server.faults.append(Fault("POST", "/experiments", kind))
    with pytest.raises(ValueError, match=f"experiment 'e'.*{kind}|name is taken"):
        open_experiment(cluster, "e")
    assert [request[:2] for request in server.requests].count(("POST", "/apis/v2beta1/experiments")) == 1


def test_retries_end_after_the_patience(cluster: Connection, server: Server) -> None:
    server.faults += [Fault("GET", "/experiments", 503)] * 1000
    with pytest.raises(ValueError, match="stays unavailable \\(503"):
        open_experiment(replace(cluster, patience=HASTY), "e")
    assert len(server.requests) > 2


@pytest.mark.parametrize("kind", [503, "lost"])
def test_a_run_whose_answer_was_lost_is_not_started_twice(
    cluster: Connection, server: Server, tiny: Path, kind: int | str
) -> None:
    server.faults.append(Fault("POST", "/runs", kind))
    run = submit(cluster, tiny, parameters=GOOD, experiment="e", name="once")
    assert list(server.runs) == [run.run_id]


def test_an_archived_experiment_is_refused(cluster: Connection, server: Server, tiny: Path) -> None:
    server.experiments[open_experiment(cluster, "old")]["storage_state"] = "ARCHIVED"
    with pytest.raises(ValueError, match=r"experiment 'old' is archived.*restore it"):
        submit(cluster, tiny, parameters=GOOD, experiment="old")
    assert not server.runs


def test_the_name_of_a_deleted_experiment_is_refused(cluster: Connection, server: Server) -> None:
    server.faults.append(Fault("POST", "/experiments", 409))
    with pytest.raises(ValueError, match="experiment 'e': the name is taken, maybe by something deleted"):
        open_experiment(cluster, "e")


def test_an_unknown_run_is_refused(cluster: Connection) -> None:
    with pytest.raises(ValueError, match=r"run 'nope': the server does not know it \(404\)"):
        status(cluster, "nope")
