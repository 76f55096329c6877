"""The result of the prepare steps."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prepared:
    """The index file, the number of pictures in each split, and the data hash."""

    index: Path
    pictures: dict[str, int]
    data_hash: str
