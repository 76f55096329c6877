"""Finished trainings that pipelines share: which are needed.

A training stays with the pipelines in MLflow that trained or took it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from components.finished.entries import Trainings
from components.finished.take_or_train import TAKEN_TAG
from components.retention.recorded import Family
from components.retention.rule import Item


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
