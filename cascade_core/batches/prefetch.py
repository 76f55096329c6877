"""Batches of a data set, prefetched while the model works on the current one."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch.utils.data import DataLoader

from cascade_core.batches.samples import Batch, SegmentationDataset, collate

T = TypeVar("T")


def batches(dataset: SegmentationDataset, *, batch_size: int = 1, workers: int = 0) -> Iterable[Batch]:
    """Batch the samples in order, prefetched by `workers` processes, or by one thread if there are none."""
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )
    return loader if workers else prefetch(loader)


def prefetch(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
    """Prefetch up to `depth` items in a background thread; the order is preserved.

    Decoding and torch's operations release the interpreter lock, so the thread hardly slows the model. The iterator
    raises an item's exception in the place of that item.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        pending = deque(thread.submit(_next, iterator) for _ in range(depth))
        while item := pending.popleft().result():
            pending.append(thread.submit(_next, iterator))
            yield item[0]


def _next(iterator: Iterator[T]) -> tuple[T] | None:
    """Return the next item in a tuple, or None at the end: a future cannot carry StopIteration."""
    for item in iterator:
        return (item,)
    return None
