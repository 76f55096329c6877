"""The trainings that pipelines share: which are needed.

A finished training stays with the pipelines in MLflow that trained or took it. What an interrupted one left goes by its
age alone: whoever starts the same training again before then resumes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from components.finished.entries import Trainings, TrainingsFolder, Unfinished
from components.finished.take_or_train import TAKEN_TAG
from components.retention.recorded import Family
from components.retention.rule import Item, StillNeededError
from components.storage.lease import FolderInUseError, leased


def training_items(place: Trainings, known: Sequence[Family], staying: Mapping[str, str]) -> Iterator[Item]:
    """Yield the trainings, in groups of a protocol, a recipe and a setting; `staying` names families by their runs' ids."""
    taken = {
        key: staying[family.run_id]
        for family in known
        if family.run_id in staying
        for key in family.tags(TAKEN_TAG)
    }
    for entry in place.entries():
        user = staying.get(entry.mlflow_run) or taken.get(entry.key)
        yield Item(
            "training",
            f"{entry.step} {entry.recipe} seed {entry.seed} {entry.key}",
            entry.finished,
            (entry.protocol, entry.recipe, entry.setting),
            entry.key,
            partial(place.remove, entry.key),
            f"used by {user}" if user else "",
            entry.num_bytes,
        )


def unfinished_items(place: Trainings) -> Iterator[Item]:
    """Yield what interrupted trainings and uploads left, and what still works there."""
    for left in place.unfinished():
        yield Item(
            "training",
            f"unfinished {left.key}",
            left.changed,
            left.key,
            left.key,
            partial(_remove_unfinished, place, left),
            num_bytes=left.num_bytes,
        )


def _remove_unfinished(place: Trainings, left: Unfinished) -> None:
    """Remove what an interruption left, unless its training was started again or has ended since."""
    try:
        with leased(place.root / left.key) if isinstance(place, TrainingsFolder) else nullcontext():
            if left not in place.unfinished():
                raise StillNeededError("something was written there since")
            place.remove(left.key)
    except FolderInUseError as error:
        raise StillNeededError("its training runs") from error
