"""The pixel counts by which the gate compared a version, kept as an artifact of the version's run.

With them later candidates are compared by an interval over the same pictures; versions of before have none.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from components.registry.versions import Version
from components.results.names import PICTURE_COUNTS_FILE
from components.tracking import stored_files

if TYPE_CHECKING:
    from components.results.picture_counts import CountsOfPictures

FOLDER = "gate"
"""The run's artifact folder of the counts."""


def keep(run_id: str, evaluation: Path) -> None:
    """Keep the counts of an evaluation with a version's run; an evaluation of before has none to keep."""
    if (file := evaluation / PICTURE_COUNTS_FILE).is_file():
        stored_files.keep(run_id, file, FOLDER)


def counts_of(version: Version) -> "CountsOfPictures | None":
    """Return the counts that a version keeps; None if it keeps none, or its run is gone.

    Raises:
        UserError: the store does not answer, or the file is broken.
    """
    from components.results.picture_counts import read_counts

    if version.run_id is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        file = stored_files.file_of_run(version.run_id, f"{FOLDER}/{PICTURE_COUNTS_FILE}", Path(scratch))
        return None if file is None else read_counts(file.parent)
