"""The cores of a process: the smallest of what pipeline, container and affinity allow."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cascade_core.runtime import cores
from tests.cascade_core.runtime.control_groups import write_groups


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the machine has 64 cores, all of them usable."""
    monkeypatch.delenv(cores.CORES_VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({"cpu.max": "400000 100000"}, "0::/", 4),
        ({"cpu.max": "30000 100000"}, "0::/", 1),
        ({"cpu.max": "max 100000"}, "0::/", 64),
        (
            {"kubepods/pod1/cpu.max": "max 100000", "kubepods/cpu.max": "250000 100000"},
            "0::/kubepods/pod1",
            2,
        ),
        ({"cpu/a/cpu.cfs_quota_us": "800000", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/a", 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/", 64),
        ({}, None, 64),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(
    tmp_path: Path, files: dict[str, str], membership: str | None, expected: int
) -> None:
    assert cores.usable_cores(*write_groups(tmp_path, files, membership)) == expected


@pytest.mark.usefixtures("many")
def test_the_row_of_a_step_limits_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.CORES_VARIABLE, "8")
    assert cores.usable_cores(tmp_path, tmp_path / "none") == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    assert cores.usable_cores(tmp_path, tmp_path / "none") == 2


def test_loading_uses_no_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    assert [cores.loading_workers(wanted) for wanted in (0, 1, 4)] == [0, 1, 2]


PROGRAM = """
import os, sys
os.cpu_count = lambda: 64
if sys.argv[1] == "before":
    import torch
from cascade_core.runtime.cores import limit_threads
limit_threads(1)
import torch
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("order", "stated", "expected"), [("before", "", 1), ("after", "", 1), ("after", "2", 2)]
)
def test_torch_gets_a_thread_for_each_usable_core(order: str, stated: str, expected: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != cores.THREADS_VARIABLE}
    if stated:
        environment[cores.THREADS_VARIABLE] = stated
    program = [sys.executable, "-c", PROGRAM, order]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this process may use 4 cores, all of the machine, and has not imported torch."""
    for variable in (cores.CORES_VARIABLE, cores.THREADS_VARIABLE):
        # Set first, so that what the test sets is removed at its end.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("busy", "threads", "words"),
    [
        (0.4, None, ""),
        (1.0, "3", "3 of 4 threads: other processes keep a core busy"),
        (9.0, "1", "1 of 4 threads"),
    ],
)
def test_cores_that_others_keep_busy_get_no_thread(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    busy: float,
    threads: str | None,
    words: str,
) -> None:
    monkeypatch.setattr(cores, "busy_cores", lambda: busy)
    with caplog.at_level("INFO"):
        cores.use_free_cores()
    assert os.environ.get(cores.THREADS_VARIABLE) == threads
    assert words in caplog.text


@pytest.mark.usefixtures("quiet")
def test_other_processes_may_be_busy_on_other_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    monkeypatch.setattr(cores, "busy_cores", lambda: 2.0)
    cores.use_free_cores()
    assert os.environ[cores.THREADS_VARIABLE] == "2"


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("variable", [cores.CORES_VARIABLE, cores.THREADS_VARIABLE])
def test_a_stated_number_is_independent_of_the_load(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "4")
    monkeypatch.setattr(cores, "busy_cores", lambda: pytest.fail("the load does not matter"))
    cores.use_free_cores()
    assert os.environ.get(cores.THREADS_VARIABLE, "4") == "4"


@pytest.mark.usefixtures("quiet")
def test_stated_threads_hold_for_torch_and_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    before = torch.get_num_threads()
    try:
        cores.use_threads(2)
        assert torch.get_num_threads() == 2
        assert os.environ[cores.THREADS_VARIABLE] == "2"
    finally:
        torch.set_num_threads(before)


def test_a_busy_core_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            time.sleep(0.1)
            assert 0.5 < max(cores.busy_cores() for _ in range(3)) < 1.2 * (os.cpu_count() or 1) + 0.2
        finally:
            busy.kill()
