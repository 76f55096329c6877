"""Where the trainings of pipelines work, and where finished ones are kept.

A training works in a folder named by the key of its content, below a root that outlives its pod. So whatever starts the
same training again resumes it: Kubernetes after an eviction, a retry, "Retry" on Kubeflow's page, a run sent again.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.runtime.targets import check_gathering_folder
from components.cluster.names import POD_VARIABLE, TRAININGS_VARIABLE, VOLUME_VARIABLE
from components.finished.entries import TRAINING, Trainings, TrainingsFolder, kept_trainings
from components.storage.lease import Lease, leased
from components.storage.places import cache_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workplace:
    """The root of the working folders, and the place of finished trainings, which may be the same folder."""

    root: Path
    kept: Trainings

    def training(self, key: str) -> Path:
        """Return the folder that the step of a training writes; beside it lies what an interruption left."""
        return self.root / key / TRAINING

    @contextmanager
    def turn(self, key: str) -> Iterator[Lease]:
        """Hold the lease of a key during the block, so that of two equal trainings the second finds the result of the first."""
        with leased(self.root / key, wait=True) as lease:
            yield lease

    def leave(self, key: str) -> None:
        """Remove the working folder of a training that is kept elsewhere."""
        if self.kept != TrainingsFolder(self.root):
            TrainingsFolder(self.root).remove(key)


def workplace() -> Workplace | None:
    """Return the workplace that the environment names; None if it names none, or only a volume that takes no files.

    Raises:
        UserError: the place of finished trainings is invalid, or takes no files.
    """
    volume = _volume()
    if not os.environ.get(TRAININGS_VARIABLE):
        return Workplace(volume, TrainingsFolder(volume)) if volume else None
    kept = kept_trainings()
    assert kept is not None
    if isinstance(kept, TrainingsFolder):
        check_gathering_folder(kept.root)
        return Workplace(kept.root, kept)
    return Workplace(volume or cache_folder() / "trainings", kept)


def _volume() -> Path | None:
    """Return the folder on the volume; None outside of pods, and, with a warning, if the pod cannot write there."""
    name = os.environ.get(VOLUME_VARIABLE)
    if not name or POD_VARIABLE not in os.environ:  # kfp.local sets the variables of a compiled pipeline, too
        return None
    folder = Path(name)
    try:
        if not folder.parent.is_dir():
            raise UserError(f"{folder.parent} does not exist")
        check_gathering_folder(folder)
        folder.mkdir(exist_ok=True)
    except (UserError, OSError) as error:
        log.warning("the training works in its pod, and an interrupted one starts anew: %s", error)
        return None
    return folder
