"""The same work on many files at once, on threads: decoding and packing pixels leaves the interpreter free."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Progress = Callable[[int, int], None]
"""Called with the number of files dealt with and their total."""


def parallel_map(
    function: Callable[[Item], Made],
    items: Sequence[Item],
    *,
    workers: int = 4,
    progress: Progress | None = None,
) -> list[Made]:
    """Give what `function` makes of each item, in the order of the items.

    The first exception ends it; who interrupts does not wait for the items that have not begun.
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
