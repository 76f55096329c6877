"""Convert many label maps in parallel; a repeated call resumes an interrupted one, and one error lists all faults."""

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
    """Write the PNG of every job on `workers` threads, skip existing files, and return the number written.

    An existing file is complete, because it was written under a temporary name and then renamed.

    Raises:
        UserError: files could not be converted; the message names up to ten of them, and all others are written.
    """
    missing = sorted((job for job in jobs if not job.target.exists()), key=lambda job: job.target)

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(len(jobs) - len(missing) + done, len(jobs))

    errors = parallel_map(_error_of, missing, workers=workers, progress=report)
    if problems := list(filter(None, errors)):
        raise UserError(
            f"{len(problems)} of {len(missing)} label maps could not be converted, the others are kept; "
            f"mend these and run the command again:{bullets(problems)}"
        )
    return len(missing)


def write_label_map(target: Path, ids: UInt8[np.ndarray, "height width"]) -> None:
    """Write ids as a palette PNG in Pascal VOC's colours, completely or not at all."""
    picture = Image.fromarray(ids)
    picture.putpalette(voc_palette())
    with new_file(target) as path:
        picture.save(path, format="PNG")


@cache
def voc_palette() -> bytes:
    """Return the 256 colours of Pascal VOC's PNGs: bits 0, 3, 6 of an id are the high bits of red, and so on."""
    ids, channels = np.arange(256)[:, None], np.arange(3)
    colours = sum((ids >> (3 * bit + channels) & 1) << (7 - bit) for bit in range(8))
    return np.asarray(colours, dtype=np.uint8).tobytes()


def _error_of(job: Job) -> str | None:
    """Write the label map of a job, and return the text of its error, if there is one."""
    try:
        write_label_map(job.target, job.make())
    except UserError as error:
        return str(error)
    return None
