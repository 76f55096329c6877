"""How a list of pictures is divided among workers: buckets of pictures in a row, and shards of buckets in a row.

Buckets follow from the number of pictures and the batch size, and never from the number of shards or from what is left
to do. A batch lies within one bucket, and a bucket within one shard. So any number of workers, killed and started
again at will, form the same batches, and get the same scores to the last bit.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cascade_core.errors import UserError

FEWEST, MOST, BUCKETS = 8, 64, 256
"""A bucket has at least and at most so many pictures, unless the batch is large; between them, a list has so many buckets."""
BATCHES = 4
"""A bucket has room for so many batches, so that pictures of several sizes still fill some of them."""


@dataclass(frozen=True)
class Shard:
    """One of `number` parts of a list, counted from 0 as Slurm's arrays and Kubernetes' indexed jobs count."""

    index: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of a text such as 0/8.

        Raises:
            UserError: the text has another form, or there is no such shard.
        """
        match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text.strip())
        if match is None or not int(match[1]) < int(match[2]):
            raise UserError(
                f"shard {text!r}; give its index and the number of shards, counted from 0: of four shards, the first is "
                "0/4 and the last 3/4"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.number}"

    @property
    def file_name(self) -> str:
        return f"{self.index:05}-of-{self.number:05}"

    def buckets(self, total: int) -> range:
        """Return this shard's part of `total` buckets; sizes differ by at most one, and may be zero."""
        return range(total * self.index // self.number, total * (self.index + 1) // self.number)


def bucket_size(pictures: int, batch: int) -> int:
    """Return the number of pictures of a bucket, for a list of `pictures`."""
    return max(BATCHES * batch, FEWEST, min(MOST, -(-pictures // BUCKETS)))


def bucket_ranges(pictures: int, size: int) -> list[range]:
    """Return the positions of each bucket of a list; the last bucket may be smaller than `size`."""
    return [range(first, min(first + size, pictures)) for first in range(0, pictures, size)]


def batches_of(sizes: list[tuple[int, int] | None], batch: int, *, most_pixels: int) -> Iterator[list[int]]:
    """Yield the positions of each batch of a bucket: pictures of one size, in order, at most `batch` and `most_pixels`.

    `sizes` are widths and heights; a picture without a size is in no batch, one with more than `most_pixels` is alone.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    for position, size in enumerate(sizes):
        if size is not None:
            by_size.setdefault(size, []).append(position)
    for (width, height), positions in by_size.items():
        step = max(1, min(batch, most_pixels // (width * height)))
        for first in range(0, len(positions), step):
            yield positions[first : first + step]
