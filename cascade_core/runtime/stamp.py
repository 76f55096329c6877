"""What a changed file changes, as far as one sees without reading it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Stamp:
    """A file's size in bytes and its modification time in nanoseconds."""

    num_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "Stamp | None":
        """Return the stamp of the file at a path; None if there is none, or it is out of reach: reading it says why."""
        try:
            status = os.stat(path)  # noqa: PTH116 (a Path for each picture takes long)
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns)

    def __str__(self) -> str:
        return f"{self.num_bytes}-{self.modified_ns}"
