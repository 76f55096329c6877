"""The order in which training sees its pictures: a stream of batches that can be continued anywhere."""

from collections.abc import Iterator

import numpy as np

from cascade_core.errors import UserError

Draw = tuple[int, int]
"""Index of a picture, and the number of its draw in the stream, which seeds its augmentation."""


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
    """Give the batches of iterations `start` to `iterations`, for use as `DataLoader(batch_sampler=...)`, once.

    Every epoch is a new seeded permutation whose incomplete last batch is dropped. Batch i depends on the
    seed and on i alone: neither on `start` (a resumed training sees what an uninterrupted one would have
    seen) nor on the number of workers. `batch_size` is per process; the global batch is cut into
    `world_size` parts, so two processes of 8 see together what one of 16 sees.

    Raises:
        UserError: the seed is negative, or one global batch needs more pictures than there are.
    """
    assert batch_size >= 1 and 0 <= rank < world_size and 0 <= start <= iterations
    if seed < 0:
        raise UserError(f"seed={seed} must not be negative; give a whole number from 0")
    if num_samples < batch_size * world_size:
        raise UserError(
            f"{num_samples} pictures do not fill one batch of {batch_size} on {world_size} processes"
            f"; lower the batch size to at most {num_samples // world_size}, or add pictures"
        )
    per_epoch = num_samples // (batch_size * world_size)

    def batches() -> Iterator[list[Draw]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for iteration in range(start, iterations):
            if iteration // per_epoch != epoch:
                epoch = iteration // per_epoch
                # The trailing 1 keeps this stream apart from those of the draws, seeded by (seed, draw).
                order = np.random.default_rng((seed, epoch, 1)).permutation(num_samples)
            first, draw = (
                (number * world_size + rank) * batch_size for number in (iteration % per_epoch, iteration)
            )
            yield [(int(order[first + i]), draw + i) for i in range(batch_size)]

    return batches()
