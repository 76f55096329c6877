"""The published files of a data set: names, pages, and the sizes and checksums that others state.

Sizes and checksums were looked up, not computed here, because the real files were not at hand. Each states its source.
A file without them is used unchecked.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cascade_core.errors import UserError

CHUNK = 1 << 22


@dataclass(frozen=True)
class OfficialFile:
    """A published file; `digest` is "algorithm:hex", `stated` names the source of size and digest."""

    name: str
    page: str
    size: int | None = None
    digest: str | None = None
    stated: str = ""

    def describe(self) -> str:
        """Describe in one line where to get the file and how to verify it."""
        size = f"{self.size:,} bytes" if self.size else "size unverified"
        digest = self.digest.replace(":", " ") if self.digest else "checksum unverified"
        source = f", as {self.stated}" if self.stated else ""
        return f"{self.name} from {self.page} ({size}, {digest}{source})"

    @property
    def known(self) -> bool:
        """Whether a size or checksum is known."""
        return self.size is not None or self.digest is not None


def check_file(path: Path, file: OfficialFile, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Compare a file with the published one by size and checksum, as far as they are known.

    Raises:
        UserError: size or checksum differ.
    """
    size = path.stat().st_size
    remedy = (
        f"fetch it again from {file.page}; if it is meant to be a part of the data set, add --allow-subset"
    )
    if file.size is not None and size != file.size:
        raise UserError(
            f"{path} has {size:,} bytes, the official {file.name} {file.size:,} (stated by {file.stated}); {remedy}"
        )
    if file.digest is None:
        return
    algorithm, expected = file.digest.split(":")
    # The check is against chance damage, so the weak algorithms that the sources state suffice.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, size)
    if digest.hexdigest() != expected:
        raise UserError(
            f"{path} has the {algorithm} {digest.hexdigest()}, the official {file.name} {expected} "
            f"(stated by {file.stated}); {remedy}"
        )
