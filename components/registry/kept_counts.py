"""The pixel counts by which the gate compared a version, kept as an artifact of the version's run.

With them later candidates are compared by an interval over the same pictures; versions of before have none.
"""

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from components.registry.versions import Version
from components.results.names import PICTURE_COUNTS_FILE
from components.tracking import stored_files

if TYPE_CHECKING:
    from components.results.picture_counts import CountsOfPictures

log = logging.getLogger(__name__)

FOLDER = "gate"
"""The run's artifact folder of the counts."""


def keep(run_id: str, evaluation: Path) -> None:
    """Keep the counts of an evaluation with a version's run; an evaluation of before has none to keep."""
    if (file := evaluation / PICTURE_COUNTS_FILE).is_file():
        stored_files.keep(run_id, file, FOLDER)


def counts_of(version: Version) -> "CountsOfPictures | None":
    """Return the counts that a version keeps; None if it keeps none that can be read, or its run is gone.

    A broken file must not keep every later candidate from being judged, so it is logged, and the gate's reason says that there are no counts.

    Raises:
        UserError: the store does not answer.
    """
    from components.results.picture_counts import read_counts

    if version.run_id is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        file = stored_files.file_of_run(version.run_id, f"{FOLDER}/{PICTURE_COUNTS_FILE}", Path(scratch))
        try:
            return None if file is None else read_counts(file.parent)
        except UserError as error:
            log.warning("version %d of %s keeps broken pixel counts: %s", version.number, version.name, error)
            return None
