"""Converting many label maps at once: in parallel, going on where a call stopped, telling all that is broken."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.data.sources.archives import Progress
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from cascade_core.runtime.listing import bullets


@dataclass(frozen=True)
class Job:
    """A label map to make: `make` gives its ids, or raises ValueError naming the file that is wrong."""

    target: Path
    make: Callable[[], UInt8[np.ndarray, "height width"]]


def convert(jobs: Sequence[Job], *, workers: int, progress: Progress | None = None) -> int:
    """Write the PNG of every job that is not there yet, on `workers` threads, and return how many were written.

    A file that is there is whole, for it is written under a temporary name and renamed. Threads do: unpacking
    and packing pixels, which is most of the work, leaves the interpreter free.

    Raises:
        UserError: naming up to ten files that could not be converted; all others are.
    """
    missing = [job for job in jobs if not job.target.exists()]
    problems: dict[Path, str] = {}
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        running = {pool.submit(_run, job): job for job in missing}
        for done, future in enumerate(as_completed(running), start=len(jobs) - len(missing) + 1):
            if (problem := future.result()) is not None:
                problems[running[future].target] = problem
            if progress is not None:
                progress(done, len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)  # one who interrupts does not wait for a hundred thousand maps
    if problems:
        raise UserError(_told([problems[target] for target in sorted(problems)], len(missing)))
    return len(missing)


def write_label_map(target: Path, ids: UInt8[np.ndarray, "height width"]) -> None:
    """Write ids as a palette PNG in Pascal VOC's colours, whole or not at all."""
    picture = Image.fromarray(ids)
    picture.putpalette(voc_palette())
    with new_file(target) as path:
        picture.save(path, format="PNG")


@cache
def voc_palette() -> bytes:
    """Give the 256 colours of Pascal VOC's PNGs: the bits of an id, spread over the high bits of r, g and b."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def _run(job: Job) -> str | None:
    try:
        write_label_map(job.target, job.make())
    except ValueError as error:
        return str(error)
    return None


def _told(problems: list[str], total: int) -> str:
    return (
        f"{len(problems)} of {total} label maps could not be converted, the others are kept; "
        f"mend these and run the command again:{bullets(problems)}"
    )
