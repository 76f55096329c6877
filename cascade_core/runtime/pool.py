"""Parallel work on many files with threads: decoding and encoding pictures releases the interpreter lock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the number of finished files and their total."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 4,
    progress: Progress | None = None,
) -> list[Result]:
    """Call `function` for each item with `workers` threads; return the results in the order of the items.

    The first exception, also an interrupt, cancels the items that have not started.
    """
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        futures = [pool.submit(function, item) for item in items]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            if progress is not None:
                progress(done, len(items))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
