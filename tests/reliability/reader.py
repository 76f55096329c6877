"""What a fuzzer needs to know of a reader: how to call it, its good files, and how to damage them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.reliability.mutations import Mutation


@dataclass(frozen=True)
class Reader:
    """What reads a folder, the folder's good files by their paths in it, and how each that is damaged is damaged."""

    read: Callable[[Path], object]
    files: Callable[[Random], Mapping[str, bytes]]
    damages: Mapping[str, Mutation]

    def damaged(self, random: Random) -> tuple[str, Mapping[str, bytes]]:
        """Return the path of the damaged file, and all files."""
        files, path = self.files(random), random.choice(sorted(self.damages))
        return path, {**files, path: self.damages[path](files[path], random)}


def of_file(
    name: str, read: Callable[[Path], object], make: Callable[[Random], bytes], damage: Mutation
) -> Reader:
    """Return the reader of one file, whose good content may vary."""
    return Reader(lambda folder: read(folder / name), lambda random: {name: make(random)}, {name: damage})
