"""Faults of the object store, of the tracking server and of the disk: what is tried, how it ends, and nothing is lost."""

import contextlib
import math
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder
from components.artifacts.manifest import TRACKING_FILE
from components.storage import s3, transfer
from components.tracking.run_record import record_folders
from components.tracking.tracker import tracked_step
from tests.components.moto_server import object_store
from tests.components.tracking_server import started
from tests.reliability.faulty_proxy import Fault, Proxy, proxy

pytestmark = [
    pytest.mark.reliability,
    # The connections that a fault breaks stay in the pools of boto3 and requests until these are collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
FILES = {"a.txt": b"a" * 1000, "deep/b.bin": bytes(range(256)) * 4000, "deep/empty": b""}
POINTS = 40


def _print(store: str, fault: str, tries: int, outcome: str, lost: int) -> None:
    """Print a row of the table in docs/reliability.md."""
    print(f"\n| {store} | {fault} | {tries} | {outcome} | {lost or 'none'} |")


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with object_store(monkeypatch) as endpoint, proxy(endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.uri)
        monkeypatch.setattr(s3, "READ_SECONDS", 2)
        yield between


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _repeat(call: str, uri: str, folder: Path) -> int:
    """Store or fetch until it succeeds, as a user does who reads "try again"; return the number of calls."""
    last = ""
    for calls in range(1, 6):
        try:
            transfer.store(folder, uri) if call == "store" else transfer.fetch(uri, folder)
        except UserError as error:
            last = str(error)
        else:
            assert "\n" not in last
            return calls
    raise AssertionError(f"{call} did not succeed after faults had ended")


@pytest.mark.parametrize("times", [1, 7])
@pytest.mark.parametrize("call", ["store", "fetch"])
@pytest.mark.parametrize("fault", ["500", "reset", "lost answer", "cut", "hang", "slow", "wrong byte"])
def test_files_survive_a_faulty_object_store(
    fault: Fault, call: str, times: int, objects: Proxy, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    if call == "fetch":
        transfer.store(source, "s3://bucket/data")
    objects.break_next(fault, times)
    calls = _repeat(call, "s3://bucket/data", source if call == "store" else back)
    broken, requests = objects.broken, objects.requests
    if call == "store":
        transfer.fetch("s3://bucket/data", back)
    assert broken == min(times, requests)
    assert _content(source) == _content(back) == FILES
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    _print(f"object store, {call}", f"{fault} x {broken}", requests, f"whole after {calls} call(s)", 0)


def test_a_wrong_clock_is_named(objects: Proxy, tmp_path: Path) -> None:
    objects.break_next("skewed clock", 100)
    with pytest.raises(ValueError, match=r"set the clock of this machine|refuses") as raised:
        transfer.fetch("s3://bucket/data", tmp_path / "back")
    _print("object store, fetch", "clock set back", objects.requests, str(raised.value)[:40], 0)


@pytest.fixture
def server(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    tracking = started(store, store / "mlruns" / "mlflow.db", monkeypatch)
    with proxy(tracking.uri) as between:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", between.uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        yield between
    tracking.stop()


def _step(out: Path, between: Proxy | None, fault: Fault = "500", times: int = 0) -> None:
    with tracked_step("evaluate", protocol="mini-18-6", parameters={"a": 1}, out=out) as tracker:
        with new_folder(out) as folder:
            (folder / "scores.json").write_text("{}")
            tracker.files("scores.json")
            for step in range(POINTS):
                tracker.metrics({"loss": 1 / (step + 1)}, step=step)
                if step == POINTS // 2 and between is not None:
                    between.break_next(fault, times)
                if step % 10 == 9:
                    tracker.flush()


def _check_whole(store: Path) -> None:
    client = MlflowClient(f"sqlite:///{store / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mini-18-6")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params == {"a": "1"}
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [
        (step, 1 / (step + 1)) for step in range(POINTS)
    ]


@pytest.mark.parametrize("times", [1, 6])
@pytest.mark.parametrize("fault", ["500", "reset", "lost answer", "cut", "hang", "slow"])
def test_a_run_survives_a_faulty_tracking_server(
    fault: Fault, times: int, server: Proxy, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _step(out, server, fault, times)
    broken, requests, outcome = server.broken, server.requests, "logged by the step"
    server.left = 0
    if (out / TRACKING_FILE).is_file():
        record_folders([out])
        outcome = "logged by `cascade-clip record`"
    _check_whole(store)
    _print("tracking server", f"{fault} x {broken}", requests, outcome, 0)


@pytest.mark.parametrize("fault", ["500", "reset", "lost answer", "cut", "hang"])
def test_a_faulty_start_leaves_no_second_open_run(
    fault: Fault, server: Proxy, store: Path, tmp_path: Path
) -> None:
    server.break_next(fault, 1, method="POST")
    for _ in range(2):
        with contextlib.suppress(UserError):  # the first may end so; the second must not leave what it left
            _step(tmp_path / "out", None)
    client = MlflowClient(f"sqlite:///{store / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("mini-18-6").experiment_id])
    statuses = sorted(run.info.status for run in runs)
    assert "FINISHED" in statuses and "RUNNING" not in statuses
    _print("tracking server", f"{fault} at the start", server.requests, ", ".join(statuses), 0)


def test_a_clock_set_back_loses_no_point(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    start = now()
    monkeypatch.setattr(
        "components.tracking.tracker.time.time", lambda: now() - (3600 if now() > start + 0.5 else 0)
    )
    with tracked_step("evaluate", protocol="mini-18-6", parameters={"a": 1}) as tracker:
        for step in range(POINTS):
            tracker.metrics({"loss": 1 / (step + 1)}, step=step)
            time.sleep(0.05)
    _check_whole(store)
    _print("tracking store", "clock set back by an hour", 1, "logged by the step", 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB, which only root can mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if os.geteuid() or subprocess.run(options, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("fault", ["disk full", "read-only"])
def test_an_unwritable_disk_keeps_the_earlier_folder(
    fault: str, objects: Proxy, small_disk: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", small_disk / "data"
    source.mkdir()
    (source / "a.txt").write_bytes(b"first")
    transfer.store(source, "s3://bucket/data")
    transfer.fetch("s3://bucket/data", target)
    (source / "b.bin").write_bytes(os.urandom(2 * 2**20))
    transfer.store(source, "s3://bucket/data")
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    objects.break_next("500", 0)
    with pytest.raises((UserError, OSError), match="no space left|is read-only") as raised:
        transfer.fetch("s3://bucket/data", target)
    assert isinstance(raised.value, UserError), raised.value
    assert _content(target) == {"a.txt": b"first"}
    subprocess.run(["mount", "-o", "remount,rw,size=8m", str(small_disk)], check=True)
    transfer.fetch("s3://bucket/data", target)
    assert _content(target) == _content(source)
    _print("disk, fetch", fault, objects.requests, "one sentence; whole after a second call", 0)


def test_nan_and_infinite_points_are_kept(server: Proxy, store: Path, tmp_path: Path) -> None:
    with tracked_step("evaluate", protocol="mini-18-6", out=tmp_path / "out") as tracker:
        tracker.metrics({"loss": math.nan}, step=0)
        server.break_next("reset", 100)
        tracker.metrics({"loss": math.inf}, step=1)
        tracker.flush()
        (tmp_path / "out").mkdir()
    server.left = 0
    record_folders([tmp_path / "out"])
    assert tracker.run_id
    client = MlflowClient(f"sqlite:///{store / 'mlruns' / 'mlflow.db'}")
    assert [point.step for point in client.get_metric_history(tracker.run_id, "loss")] == [0, 1]
