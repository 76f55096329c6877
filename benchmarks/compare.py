"""Compare two implementations: time them in turns, and measure the peak memory of each in its own process."""

import ctypes
import gc
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from benchmarks import matrix_peak
from benchmarks.stopwatch import in_turns
from cascade_core.configs.config import Precision

ROUNDS = 5
MIB = 2**20


@dataclass(frozen=True)
class Work:
    """The operations of one call (a multiply-add is two) and the precision of its products."""

    operations: float
    precision: Precision


@dataclass(frozen=True)
class Comparison:
    """Median seconds of both implementations and their ratio (ours / plain).

    Attributes:
        share: our share of the speed of matrix products in the same run; None if it was not measured.
        peak: that speed, in operations per second.
        ours_bytes: peak memory above that before the call; None if it was not measured.
        plain_bytes: the same for the plain one.
    """

    name: str
    ours_s: float
    plain_s: float
    share: float | None = None
    peak: float | None = None
    ours_bytes: int | None = None
    plain_bytes: int | None = None

    @property
    def time_ratio(self) -> float:
        return self.ours_s / self.plain_s

    def ratio(self) -> str:
        return f"{self.time_ratio:.2f} ({self.ours_s:.2f} s / {self.plain_s:.2f} s)"

    def share_of_peak(self) -> str:
        if self.share is None or self.peak is None:
            return ""
        return f"{100 * self.share:.0f} % of {self.peak / 1e9:,.0f} GFLOP/s"

    def line(self) -> str:
        parts = [
            f"{self.name}: time {self.ours_s:.3f} s / {self.plain_s:.3f} s = {self.time_ratio:.3f}",
            self.share_of_peak(),
        ]
        if self.ours_bytes is not None and self.plain_bytes is not None:
            parts.append(
                f"peak memory {self.ours_bytes / MIB:.0f} MiB / {self.plain_bytes / MIB:.0f} MiB = "
                f"{self.ours_bytes / self.plain_bytes:.3f}"
            )
        return ", ".join(part for part in parts if part)


Make = Callable[[], tuple[Callable[[], object], Callable[[], object]]]
"""Prepares a case and returns our implementation and the plain one."""


def compare(
    name: str, make: Make, *, rounds: int = ROUNDS, memory: bool = True, work: Work | None = None
) -> Comparison:
    """Compare the two functions of `make` in turns, on request also with large matrix products."""
    calls = list(make())
    if work is None:
        ours, plain = in_turns(calls, rounds)
        share = peak = None
    else:
        multiply, operations = matrix_peak.products(work.precision)
        ours, plain, product = in_turns([*calls, multiply], rounds)
        peak = operations / product
        share = work.operations / ours / peak
    used = [peak_memory(make, which) if memory else None for which in (0, 1)]
    return Comparison(name, ours, plain, share, peak, *used)


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
