"""The index of a run: one small folder with what reports read of one iteration of a pipeline's loop.

Kubeflow passes all folders that a step gathers in one argument of limited size, and downloads each whole before the
step starts. So each iteration ends with one folder, and reports gather these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_core.checkpoints.manifest import MANIFEST_FILE
from cascade_core.runtime.files import new_folder
from components.artifacts.partial_folders import copy_part
from components.results.names import HISTORY_FILE, PICTURE_COUNTS_FILE
from components.results.picture_files import PICTURES_FILE, PREDICTIONS_FILE

FINAL_MANIFEST = f"final/{MANIFEST_FILE}"
EVALUATION, PROFILE, TRAINING = "evaluation", "profile", "training"


@dataclass(frozen=True)
class RunIndex:
    """The folders of one run: its evaluations and trainings, in the order in which the settings follow, and its profile."""

    evaluations: tuple[Path, ...]
    profile: Path
    trainings: tuple[Path, ...]


def write_index(
    folder: Path,
    *,
    evaluations: Sequence[Path],
    profile: Path | None = None,
    trainings: Sequence[Path] = (),
    pictures: bool = True,
) -> None:
    """Copy what reports read of these folders; without `pictures`, no single pictures.

    Raises:
        UserError: a folder has no manifest of its step, or lacks a file.
    """
    # No report reads the counts.
    left_out = {PICTURE_COUNTS_FILE, *(() if pictures else (PICTURES_FILE, PREDICTIONS_FILE))}
    with new_folder(folder) as working:
        for place, evaluation in enumerate(evaluations):
            names = [name for name in _files(evaluation) if name not in left_out]
            copy_part(evaluation, working / f"{EVALUATION}-{place}", names)
        for place, training in enumerate(trainings):
            copy_part(training, working / f"{TRAINING}-{place}", (HISTORY_FILE, FINAL_MANIFEST))
        if profile is not None:
            copy_part(profile, working / PROFILE, list(_files(profile)))


def read_index(folder: Path) -> RunIndex:
    """Return the folders in an index."""
    return RunIndex(
        tuple(sorted(folder.glob(f"{EVALUATION}-*"))),
        folder / PROFILE,
        tuple(sorted(folder.glob(f"{TRAINING}-*"))),
    )


def _files(folder: Path) -> Iterator[str]:
    """Yield the names of the files at the top of a folder; the folder of example pictures is for people only."""
    yield from (path.name for path in sorted(folder.iterdir()) if path.is_file())
