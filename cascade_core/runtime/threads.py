"""How many threads torch's operations use on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import torch


@contextmanager
def threads_used(count: int) -> Iterator[None]:
    """Let torch's operations that the calling thread starts use `count` threads; afterwards as many as before.

    Other threads' stay as they are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    # Torch gives a thread that starts later what any thread set last; each keeps what it set itself.
    another = Thread(target=torch.set_num_threads, args=(before,))
    another.start()
    another.join()
    try:
        yield
    finally:
        torch.set_num_threads(before)
