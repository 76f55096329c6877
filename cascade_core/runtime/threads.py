"""The number of threads of torch's CPU operations."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import torch


@contextmanager
def threads_used(count: int) -> Iterator[None]:
    """Let torch operations of the calling thread use `count` threads in the block; other threads are unaffected."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    # New threads inherit the number that any thread set last, so another thread resets it.
    another = Thread(target=torch.set_num_threads, args=(before,))
    another.start()
    another.join()
    try:
        yield
    finally:
        torch.set_num_threads(before)
