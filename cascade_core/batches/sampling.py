"""The order of the training pictures: a stream of batches that can start at any iteration."""

from collections.abc import Iterator

import numpy as np

from cascade_core.errors import UserError

Draw = tuple[int, int]
"""A picture's index, and the number of this draw in the stream, which seeds the augmentation."""


def iteration_batches(
    num_samples: int,
    batch_size: int,
    *,
    iterations: int,
    seed: int,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[Draw]]:
    """Yield once the batches of iterations `start` to `iterations`, for `DataLoader(batch_sampler=...)`.

    Every epoch is a new seeded permutation without its incomplete last batch. Batch i depends only on the seed
    and i, so a resumed training sees the same batches as an uninterrupted one. `batch_size` is per process: two
    processes with 8 together see the same batch as one process with 16.

    Raises:
        UserError: the seed is negative, or one global batch needs more pictures than there are.
    """
    assert batch_size >= 1 and 0 <= rank < world_size and 0 <= start <= iterations
    if seed < 0:
        raise UserError(f"seed={seed} must not be negative; give a whole number from 0")
    if num_samples < batch_size * world_size:
        raise UserError(
            f"{num_samples} pictures do not fill one batch of {batch_size} on {world_size} processes; "
            f"lower the batch size to at most {num_samples // world_size}, or add pictures"
        )
    per_epoch = num_samples // (batch_size * world_size)

    def batches() -> Iterator[list[Draw]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for iteration in range(start, iterations):
            if iteration // per_epoch != epoch:
                epoch = iteration // per_epoch
                # The trailing 1 separates this stream from those of the draws, seeded by (seed, draw).
                order = np.random.default_rng((seed, epoch, 1)).permutation(num_samples)
            first, draw = (
                (number * world_size + rank) * batch_size for number in (iteration % per_epoch, iteration)
            )
            yield [(int(order[first + i]), draw + i) for i in range(batch_size)]

    return batches()
