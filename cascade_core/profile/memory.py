"""The most memory that a call holds beyond what stood before it: the true peak, not what is left at its end."""

import ctypes
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

MIB = 2**20
SAMPLING_SECONDS = 0.001
RESET_HIGHEST = "5"
"""Written into clear_refs, it lets Linux count the highest resident size anew (proc(5))."""
PROC = Path("/proc/self")


def peak_memory(call: Callable[[], object], device: torch.device, *, proc: Path = PROC) -> tuple[float, str]:
    """Run `call` once; return its peak above what stood before, in MiB, and what measured it.

    Pages freed earlier are given back first.

    On a GPU that is the allocator's own peak; on a CPU the highest resident size, which Linux keeps. Where `proc`
    does not offer it (another system, a container that forbids it) the resident size is sampled every
    millisecond instead: a shorter peak may be missed, and what measured it says so.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB, "CUDA allocator's peak"
    _give_back_freed_pages()
    before = psutil.Process().memory_info().rss
    if _reset_highest(proc):
        call()
        return max(_highest(proc) - before, 0) / MIB, "VmHWM"
    with _sampled() as highest:
        call()
    return max(*highest, before) / MIB - before / MIB, "resident size, sampled"


def _give_back_freed_pages() -> None:
    """Let the C library return what it keeps for reuse: a call would take it without the resident size growing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _reset_highest(proc: Path) -> bool:
    try:
        (proc / "clear_refs").write_text(RESET_HIGHEST)
    except OSError:
        return False
    return True


def _highest(proc: Path) -> int:
    (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", (proc / "status").read_text(), re.MULTILINE)
    return int(kibibytes) * 1024


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """Gather resident sizes in a thread until the block ends; torch computes without holding the interpreter."""
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
