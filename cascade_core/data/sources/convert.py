"""Converting many label maps at once: in parallel, going on where a call stopped, telling all that is broken."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.data.sources.plan import Job
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from cascade_core.runtime.listing import bullets
from cascade_core.runtime.pool import Progress, parallel_map


def convert(jobs: Sequence[Job], *, workers: int, progress: Progress | None = None) -> int:
    """Write the PNG of every job that is not there yet, on `workers` threads, and return how many were written.

    A file that is there is whole, for it is written under a temporary name and renamed.

    Raises:
        UserError: naming up to ten files that could not be converted; all others are.
    """
    missing = sorted((job for job in jobs if not job.target.exists()), key=lambda job: job.target)
    there = len(jobs) - len(missing)

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(there + done, len(jobs))

    found = parallel_map(_run, missing, workers=workers, progress=report)
    if problems := [one for one in found if one is not None]:
        raise UserError(
            f"{len(problems)} of {len(missing)} label maps could not be converted, the others are kept; "
            f"mend these and run the command again:{bullets(problems)}"
        )
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
    except UserError as error:
        return str(error)
    return None
