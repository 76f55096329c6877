"""Compare two implementations: time them in turns, and measure the peak memory of each in its own process."""

import ctypes
import gc
import multiprocessing
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch

ROUNDS = 5
MIB = 2**20


@dataclass(frozen=True)
class Comparison:
    """Median seconds and peak bytes (above the memory before) of both implementations, and their ratios (ours / plain)."""

    name: str
    ours_s: float
    plain_s: float
    ours_bytes: int
    plain_bytes: int

    @property
    def time_ratio(self) -> float:
        return self.ours_s / self.plain_s

    @property
    def memory_ratio(self) -> float:
        return self.ours_bytes / self.plain_bytes

    def line(self) -> str:
        return (
            f"{self.name}: time {self.ours_s:.3f} s / {self.plain_s:.3f} s = {self.time_ratio:.3f}, "
            f"peak memory {self.ours_bytes / MIB:.0f} MiB / {self.plain_bytes / MIB:.0f} MiB = "
            f"{self.memory_ratio:.3f}"
        )


Make = Callable[[], tuple[Callable[[], object], Callable[[], object]]]
"""Prepares a case and returns our implementation and the plain one."""


def compare(name: str, make: Make) -> Comparison:
    """Compare the two functions of `make`: medians of `ROUNDS` interleaved runs after one warm-up of each."""
    ours, plain = make()
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for round_ in range(ROUNDS + 1):
        for key, call in (("ours", ours), ("plain", plain)):
            began = time.perf_counter()
            call()
            if round_:
                times[key].append(time.perf_counter() - began)
    return Comparison(
        name,
        ours_s=statistics.median(times["ours"]),
        plain_s=statistics.median(times["plain"]),
        ours_bytes=peak_memory(make, 0),
        plain_bytes=peak_memory(make, 1),
    )


def surroundings() -> str:
    """Describe machine, threads, torch version and date."""
    return (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{datetime.now(tz=UTC):%Y-%m-%d}"
    )


def peak_memory(make: Make, which: int) -> int:
    """Measure the growth of peak resident memory in bytes during one call, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_of, (make, which, torch.get_num_threads()))


def _peak_of(make: Make, which: int, threads: int) -> int:
    torch.set_num_threads(threads)
    call = make()[which]
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = psutil.Process().memory_info().rss
    # This resets the peak resident size in the kernel.
    Path("/proc/self/clear_refs").write_text("5")
    call()
    (highest,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return max(int(highest) * 1024 - before, 1)
