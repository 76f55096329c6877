"""The cores of a process: the smallest of what pipeline, container and affinity allow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
