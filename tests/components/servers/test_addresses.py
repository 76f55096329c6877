"""Addresses: read in one way only, and shown without secrets in messages, logs, traces, tags and files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.servers.addresses import ENDPOINT_VARIABLES, check_endpoints, masked, server_address
from components.tracking.tracker import tracked_step

SECRET = "hunter2"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg2://me:p@ss:hunter2/x@host/db",
        "postgresql://me:hunter2@x@host/db",
        "postgresql://me:12/hunter2@host/db",
        "http://me:hunter2#a@host",
        "http://me:hun?hunter2@host",
        "http://host:hunter2",
    ],
)
def test_an_ambiguous_address_is_refused_without_its_secret(address: str) -> None:
    with pytest.raises(
        ValueError, match=r"VARIABLE \(\w.*://\*\*\*\) cannot be read .*%40 %3A %2F"
    ) as raised:
        server_address(address, "VARIABLE", schemes=("http", "postgresql+psycopg2"))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "localhost"])
def test_a_missing_scheme_is_named(address: str) -> None:
    with pytest.raises(ValueError, match=f"http:// is missing: http://{address}"):
        server_address(address, "VARIABLE")


def test_a_scheme_in_upper_case_is_read_as_in_lower_case() -> None:
    assert server_address("HTTP://Host:80/a", "VARIABLE").geturl() == "http://Host:80/a"


@pytest.mark.parametrize(
    ("address", "message"), [("ftp://me:hunter2@host", "does not start with http"), ("http:///db", "no host")]
)
def test_another_scheme_and_a_missing_host_are_named(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"VARIABLE is .*{message}") as raised:
        server_address(address, "VARIABLE")
    assert SECRET not in str(raised.value)


def test_libraries_get_endpoints_in_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINT_VARIABLES:
        monkeypatch.setenv(name, " HTTP://host:80/x")
    check_endpoints()
    assert {os.environ[name] for name in ENDPOINT_VARIABLES} == {"http://host:80/x"}


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MLFLOW_TRACKING_URI", "postgresql://me:a%40hunter2@host/db", "host of a@hunter2, hunter2"),
        ("MLFLOW_TRACKING_URI", "postgresql://me@host/db?sslpassword=hunter2&x=1", "sslpassword is hunter2"),
        ("AWS_ENDPOINT_URL", "http://me:hunter2@host", "no host http://me:hunter2@host/bucket"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2", "key hunter2"),
        ("MLFLOW_TRACKING_TOKEN", "hunter2", "Bearer hunter2"),
        ("UNKNOWN", "", "https://host/a?X-Amz-Signature=hunter2&b=1 and postgresql://me:hunter2@host"),
    ],
)
def test_a_librarys_words_lose_every_secret(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert SECRET not in masked(said) and "***" in masked(said)


PLANTED = {
    "AWS_ENDPOINT_URL": "http://me:plantedA@127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "plantedB",
    "MLFLOW_TRACKING_PASSWORD": "plantedC",
    "KFP_EXISTING_TOKEN": "plantedD",
    "KFP_ENDPOINT": "http://127.0.0.1:1",
}
STORES = [
    "http://me:plantedE@127.0.0.1:1",
    "postgresql+psycopg2://me:plantedE@127.0.0.1:1/db?sslpassword=plantedF",
    "postgresql+psycopg2://me:a@b:plantedE/x@127.0.0.1:1/db",
]
JOB = ["--volume", "claim=/data", "--", "train", "--recipe", "mini_zegclip"]
FOLDERS = ("clip", "prepared", "splits", "text", "out")
TRAINING = [word for name in FOLDERS for word in (f"--{name}", f"/data/{name}")]
COMMANDS = [
    ["models", "list"],
    ["doctor"],
    ["fetch", "s3://bucket/data", "--to", "back"],
    ["store", "data", "s3://bucket/data"],
    ["pipeline", "schedule", "list", "--host", "http://me:plantedG@127.0.0.1:1"],
    ["pipeline", "status", "--host", "http://127.0.0.1:1", "run"],
    ["pipeline", "trainjob", "--out", "job.yaml", "--nodes", "1", "--gpus", "1", *JOB, *TRAINING],
]


@pytest.mark.parametrize("uri", STORES)
def test_no_command_prints_a_planted_secret(uri: str, tmp_path: Path) -> None:
    """The commands run with -v, whose traces quote what libraries say, in one process; a store concerns the first alone."""
    commands = COMMANDS if uri == STORES[0] else COMMANDS[:1]
    program = (
        "import sys\nfrom components.storage import s3\ns3.RETRIES = 1\n"
        "from pipelines.kubeflow import cluster\ncluster.BRIEF = cluster.Patience(0.1, longest=0.1)\n"
        "from typer.testing import CliRunner\nfrom pipelines.cli.app import app\n"
        f"for words in {commands!r}:\n"
        "    done = CliRunner().invoke(app, ['-v', *words]); print(words[:2], done.exit_code, done.output)\n"
        "raise RuntimeError('defect with ' + __import__('os').environ['MLFLOW_TRACKING_URI'])\n"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_TRACKING_URI": uri}
    environment = {name: value for name, value in os.environ.items() if name != "CASCADE_TRACKING"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment | PLANTED | patience | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (tmp_path / "job.yaml").is_file() == (commands is COMMANDS)
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert "defect with" in done.stderr and "error: " in done.stdout
    assert "planted" not in "".join([done.stdout, done.stderr, *written])


def test_a_failed_run_keeps_no_secret_in_its_tags(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:plantedA@127.0.0.1:1")
    with pytest.raises(KeyError), tracked_step("train", protocol="mini-18-6") as tracker:
        raise KeyError("no host http://me:plantedA@127.0.0.1:1/x, plantedA")
    assert tracker.run_id
    assert "planted" not in str(MlflowClient().get_run(tracker.run_id).to_dictionary())
