"""Reading the next pictures while the model works on this one."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch.utils.data import DataLoader

from cascade_core.batches.samples import Batch, SegmentationDataset, collate

T = TypeVar("T")


def batches(dataset: SegmentationDataset, *, batch_size: int = 1, workers: int = 0) -> Iterable[Batch]:
    """Give the samples in their order, read ahead by so many processes, or by a thread where there are none."""
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )
    return loader if workers else ahead(loader)


def ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
    """Yield the items in their order, of which a thread makes `depth` before they are asked for.

    Decoding and torch's operations give up Python's lock, so that this costs the model little. What making an
    item raises is raised where the item would have come.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as thread:
        waiting = deque(thread.submit(_next, iterator) for _ in range(depth))
        while found := waiting.popleft().result():
            waiting.append(thread.submit(_next, iterator))
            yield found[0]


def _next(iterator: Iterator[T]) -> tuple[T] | None:
    """Give the next item, None after the last: a thread cannot end another one's loop."""
    for item in iterator:
        return (item,)
    return None
