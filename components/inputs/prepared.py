"""What the prepare step made of a data set."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prepared:
    """Where the index lies, how many pictures each split has, and the hash of their content."""

    index: Path
    pictures: dict[str, int]
    data_hash: str
