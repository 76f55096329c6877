"""The order in which training sees its pictures: a stream of batches that can be continued anywhere."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from cascade_core.errors import UserError

Draw = tuple[int, int]
"""Index of a picture, and the number of its draw in the stream, which seeds its augmentation."""


class IterationSampler(Sampler[list[Draw]]):
    """Yield the batches of iterations `start` to `iterations`, for use as `DataLoader(batch_sampler=...)`.

    Every epoch is a new seeded permutation whose incomplete last batch is dropped. Batch i depends on the
    seed and on i alone: neither on `start` (a resumed training sees what an uninterrupted one would have
    seen) nor on the number of workers. `batch_size` is per process; the global batch is cut into
    `world_size` parts, so two processes of 8 see together what one of 16 sees.

    Raises:
        UserError: a size is not positive, the rank is outside the world, or one global batch needs more
            pictures than there are.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        iterations: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        sizes = {"batch_size": batch_size, "world_size": world_size, "num_samples": num_samples}
        for field, value in sizes.items():
            if value < 1:
                raise UserError(f"{field}={value} must be at least 1")
        if not 0 <= start <= iterations:
            raise UserError(f"start={start} must lie in 0..{iterations} (iterations)")
        if not 0 <= rank < world_size:
            raise UserError(f"rank={rank} must lie in 0..{world_size - 1} (world_size={world_size})")
        if seed < 0:
            raise UserError(f"seed={seed} must not be negative")
        if num_samples < batch_size * world_size:
            raise UserError(
                f"{num_samples} pictures do not fill one batch of {batch_size} on {world_size} processes"
                f"; lower the batch size to at most {num_samples // world_size}, or add pictures"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.iterations = iterations
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size

    @property
    def iterations_per_epoch(self) -> int:
        return self.num_samples // (self.batch_size * self.world_size)

    def __len__(self) -> int:
        return self.iterations - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        global_batch = self.batch_size * self.world_size
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for iteration in range(self.start, self.iterations):
            if iteration // self.iterations_per_epoch != epoch:
                epoch = iteration // self.iterations_per_epoch
                order = self._permutation(epoch)
            offset = self.rank * self.batch_size
            first = (iteration % self.iterations_per_epoch) * global_batch + offset
            draw = iteration * global_batch + offset
            yield [(int(order[first + i]), draw + i) for i in range(self.batch_size)]

    def _permutation(self, epoch: int) -> np.ndarray:
        # The trailing 1 keeps this stream apart from those of the draws, seeded by (seed, draw).
        return np.random.default_rng((self.seed, epoch, 1)).permutation(self.num_samples)
