"""Runs of pipelines in MLflow, each with the runs of its steps: which are needed, and how one is removed.

A pipeline's run stays with all its steps while it runs, while it holds the run of a version that stays, the trainings of
other pipelines that stay, or an accepted benchmark. Comparisons of the benchmark always stay: they are its trend. Runs
outside of pipelines are never touched.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from components.finished.take_or_train import TRAINED_IN_TAG
from components.results import accepted
from components.retention.rule import Item, StillNeededError
from components.tracking.pipeline_run import PARENT_TAG
from components.tracking.run_results import KFP_TAG
from components.tracking.store import all_runs
from components.tracking.stored_files import remove_files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OURS = "tags.`mlflow.source.name` LIKE 'cascade-clip %'"


@dataclass(frozen=True)
class Family:
    """A pipeline's run, and the runs of its steps."""

    parent: "Run"
    steps: tuple["Run", ...]

    @property
    def run_id(self) -> str:
        return str(self.parent.info.run_id)

    @property
    def kfp_run(self) -> str:
        """The id of the run in Kubeflow; "" elsewhere."""
        return str(self.parent.data.tags.get(KFP_TAG, ""))

    def tags(self, name: str) -> set[str]:
        """Return the values of a tag of the steps."""
        return {step.data.tags[name] for step in self.steps if name in step.data.tags}


def families(client: "MlflowClient", experiments: list[str]) -> list[Family]:
    """Return all pipelines of this project that MLflow knows, the newest first."""
    runs = all_runs(client, experiments, OURS, order_by=["attributes.start_time DESC"]) if experiments else []
    steps: dict[str, list[Run]] = {}
    for run in runs:
        if (parent := run.data.tags.get(PARENT_TAG)) and "pipeline" not in run.data.tags:
            steps.setdefault(parent, []).append(run)
    return [Family(run, tuple(steps.get(run.info.run_id, ()))) for run in runs if "pipeline" in run.data.tags]


def needed_families(known: Sequence[Family], version_runs: Mapping[str, str]) -> dict[str, str]:
    """Return why families are needed, by the ids of their runs; `version_runs` names versions that stay by their runs."""
    needed = {}
    for family in known:
        names = [version_runs[step.info.run_id] for step in family.steps if step.info.run_id in version_runs]
        if family.parent.info.status == "RUNNING":
            needed[family.run_id] = "it runs"
        elif any(_is_accepted(step) for step in family.steps):
            needed[family.run_id] = "an accepted benchmark"
        elif names:
            needed[family.run_id] = f"made {names[0]}"
    return needed


def trained_for_others(known: Sequence[Family], staying: Collection[str]) -> dict[str, str]:
    """Return the families whose trainings pipelines that stay have taken, with the reason."""
    return {
        trainer: f"trained for {family.parent.info.run_name}"
        for family in known
        if family.run_id in staying
        for trainer in family.tags(TRAINED_IN_TAG)
        if trainer
    }


def family_items(
    client: "MlflowClient", known: Sequence[Family], needed: Mapping[str, str]
) -> Iterator[Item]:
    """Yield the pipelines' runs, in groups of an experiment and a pipeline."""
    for family in known:
        info, tags = family.parent.info, family.parent.data.tags
        yield Item(
            "run",
            f"{info.run_name} ({tags.get('protocol', '')}, {info.run_id})",
            datetime.fromtimestamp(info.start_time / 1000, UTC),
            (info.experiment_id, tags["pipeline"]),
            family.run_id,
            partial(remove_family, client, family),
            needed.get(family.run_id, ""),
        )


def _is_accepted(run: "Run") -> bool:
    return run.data.tags.get("step") == accepted.EXPERIMENT and run.data.tags.get(accepted.ACCEPTED) == "true"


def remove_family(client: "MlflowClient", family: Family) -> None:
    """Remove the steps' runs and then the pipeline's, by which a later call finds what an interruption left."""
    if client.get_run(family.run_id).info.status == "RUNNING":
        raise StillNeededError("it runs again")
    steps = [client.get_run(step.info.run_id) for step in family.steps]
    if any(_is_accepted(step) for step in steps):
        raise StillNeededError("its benchmark was accepted")
    for run in (*steps, family.parent):
        if run.data.tags.get("step") == accepted.EXPERIMENT:
            continue
        remove_files(run.info.artifact_uri, of=run.info.run_id)
        client.delete_run(run.info.run_id)
