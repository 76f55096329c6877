"""The files a data set is published in: names, pages, and the sizes and checksums that are known of them.

Sizes and digests were looked up, never computed here: the real files were not at hand. Each says where it is
stated; a file of which nothing could be found says so, and is taken as it is.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cascade_core.errors import UserError

CHUNK = 1 << 22


@dataclass(frozen=True)
class OfficialFile:
    """A published file; `digest` is "algorithm:hex", `stated` names who states size and digest."""

    name: str
    page: str
    size: int | None = None
    digest: str | None = None
    stated: str = ""

    def describe(self) -> str:
        """Say in one line how to get the file and how to know it."""
        facts = [f"{self.size:,} bytes" if self.size else "size unverified"]
        facts.append(self.digest.replace(":", " ") if self.digest else "checksum unverified")
        source = f", as {self.stated}" if self.stated else ""
        return f"{self.name} from {self.page} ({', '.join(facts)}{source})"

    @property
    def known(self) -> bool:
        """Tell whether there is anything to check it by."""
        return self.size is not None or self.digest is not None


def check_file(path: Path, file: OfficialFile, *, progress: Callable[[int, int], None] | None = None) -> None:
    """See that `path` is the published file, as far as its size and digest are known.

    Raises:
        UserError: size or digest differ.
    """
    size = path.stat().st_size
    way_out = (
        f"fetch it again from {file.page}; for a part of the data set that is meant to differ, --allow-subset"
    )
    if file.size is not None and size != file.size:
        raise UserError(
            f"{path} has {size:,} bytes, the official {file.name} {file.size:,} (stated by {file.stated}); {way_out}"
        )
    if file.digest is None:
        return
    algorithm, expected = file.digest.split(":")
    found = _digest(path, algorithm, size, progress)
    if found != expected:
        raise UserError(
            f"{path} has the {algorithm} {found}, the official {file.name} {expected} "
            f"(stated by {file.stated}); {way_out}"
        )


def _digest(path: Path, algorithm: str, size: int, progress: Callable[[int, int], None] | None) -> str:
    # Against chance damage, and against what the sources state: they state no better digest.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, size)
    return digest.hexdigest()
