"""The peak memory of a call, beyond the memory held before it."""

import ctypes
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

MIB = 2**20
SAMPLING_SECONDS = 0.001
RESET_HIGHEST = "5"
"""Writing this into clear_refs resets the peak resident size in Linux (proc(5))."""
PROC = Path("/proc/self")


def peak_memory(call: Callable[[], object], device: torch.device, *, proc: Path = PROC) -> tuple[float, str]:
    """Run `call` once; return its peak memory in MiB above the memory before, and the name of the method.

    On a GPU this is the allocator's peak. On a CPU this returns freed pages to the system first, and then reads the
    peak resident size from Linux. If `proc` does not offer that (another system, a restricted container) it samples
    the resident size every millisecond, which may miss a shorter peak.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB, "CUDA allocator's peak"
    trim = None if sys.platform == "win32" else getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        # A call that reuses freed pages would not increase the resident size.
        trim(0)
    before = psutil.Process().memory_info().rss
    if _reset_peak(proc):
        call()
        return max(_peak(proc) - before, 0) / MIB, "VmHWM"
    with _sampling() as sizes:
        call()
    return (max(*sizes, before) - before) / MIB, "resident size, sampled"


def _reset_peak(proc: Path) -> bool:
    try:
        (proc / "clear_refs").write_text(RESET_HIGHEST, encoding="utf-8")
    except OSError:
        return False
    return True


def _peak(proc: Path) -> int:
    (kibibytes,) = re.findall(
        r"^VmHWM:\s+(\d+) kB$", (proc / "status").read_text(encoding="utf-8"), re.MULTILINE
    )
    return int(kibibytes) * 1024


@contextmanager
def _sampling() -> Iterator[list[int]]:
    """Sample resident sizes in a thread until the block ends; torch releases the interpreter lock while it computes."""
    process, sizes, done = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLING_SECONDS):
            sizes.append(process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()
        sizes.append(process.memory_info().rss)
