"""How many CPU cores this process may use: those of its pod or container, not those of the machine.

torch starts a thread for each core that it sees. In a container with a quota of 4 cores on a node with 64, its 64 threads
wait for each other.
"""

import logging
import os
import platform
import sys
import time
from pathlib import Path

from cascade_core.runtime.control_groups import CGROUPS, MEMBERSHIP, groups_of, words_of

log = logging.getLogger(__name__)

CORES_VARIABLE = "CASCADE_CORES"
"""Pipelines set this variable to the cores of the step's row."""
THREADS_VARIABLE = "OMP_NUM_THREADS"
SAMPLE = 0.1
"""The seconds for which the load of other processes is watched."""


def usable_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the cores that this process may use, at least 1.

    The smallest of: `CASCADE_CORES`, the CPU quota of the control groups, the affinity of the process.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(affinity), *_quotas(cgroups, membership)]
    stated = os.environ.get(CORES_VARIABLE, "")
    if stated.isdigit():
        limits.append(float(stated))
    return max(1, int(min(limits)))


def limit_threads(cores: int | None = None) -> None:
    """Limit the threads of torch and of numerical libraries to the usable cores; `OMP_NUM_THREADS` overrides this.

    Does nothing if all cores of the machine are usable.
    """
    cores = usable_cores() if cores is None else cores
    if THREADS_VARIABLE in os.environ or cores >= (os.cpu_count() or 1):
        return
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(min(cores, torch.get_num_threads()))
    else:
        os.environ[THREADS_VARIABLE] = str(cores)


def use_threads(count: int) -> None:
    """Use this number of threads in torch and numerical libraries, here and in processes that this one starts."""
    os.environ[THREADS_VARIABLE] = str(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def use_free_cores() -> None:
    """Use a thread for each usable core that other processes leave free, at least one, and log if these are fewer.

    Two threads beside a process that keeps one of two cores busy wait for each other, and are slower than one. A number
    that is decided already stays: by `OMP_NUM_THREADS`, by `CASCADE_CORES`, or in a process that has imported torch.
    """
    usable = usable_cores()
    if "torch" in sys.modules or usable == 1 or {THREADS_VARIABLE, CORES_VARIABLE} & os.environ.keys():
        return limit_threads()
    busy = round(busy_cores())
    threads = max(1, min(usable, (os.cpu_count() or 1) - busy))
    if threads < usable:
        log.info(
            "%d of %d threads: other processes keep %s busy; --threads sets another number",
            threads,
            usable,
            "a core" if busy == 1 else f"{busy} cores",
        )
    return limit_threads(threads)


def busy_cores(seconds: float = SAMPLE) -> float:
    """Return how many cores other processes of the machine keep busy, by watching them for some time.

    Processes of lower priority (nice) do not count, because they give way.
    """
    import psutil  # here, because `--help` needs no load

    # Not cpu_times_percent, which takes differences below a second for a whole one.
    began, before = time.perf_counter(), psutil.cpu_times()
    time.sleep(seconds)
    after, took = psutil.cpu_times(), time.perf_counter() - began
    return (after.user - before.user + after.system - before.system) / took


def loading_workers(wanted: int) -> int:
    """Return how many processes load pictures: as many as are wanted, but no more than there are usable cores."""
    return min(wanted, usable_cores())


def _quotas(cgroups: Path, membership: Path) -> list[float]:
    """Return the quotas in cores of the process's control group and of those above it, of version 2 or 1."""
    places = groups_of("cpu", cgroups, membership)
    return [quota for place in places for quota in (_quota_v2(place), _quota_v1(place)) if quota]


def _quota_v2(place: Path) -> float | None:
    match words_of(place / "cpu.max"):
        case [quota, period] if quota.isdigit() and period.isdigit():
            return int(quota) / int(period)
    return None


def _quota_v1(place: Path) -> float | None:
    match words_of(place / "cpu.cfs_quota_us"), words_of(place / "cpu.cfs_period_us"):
        case [quota], [period] if quota.isdigit() and period.isdigit():
            return int(quota) / int(period)
    return None


def processor_name() -> str:
    """Return the name of the processor, such as its model, or else its architecture."""
    import torch  # slow to import

    name: str = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return name
