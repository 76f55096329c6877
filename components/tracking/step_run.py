"""A step's run in MLflow, opened in its experiment: while the step begins, or later from what it spooled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.tracking.pipeline_run import PARENT_TAG, kfp_run_of
from components.tracking.store import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

SPOOLED_TAG = "spooled_as"
"""Says by which name a spool knows a run that was opened from it, so that replaying it again finds that run."""


def open_step_run(
    client: "MlflowClient",
    *,
    protocol: str,
    tags: Mapping[str, str],
    name: str,
    started: int | None = None,
) -> str:
    """Open a run and return its id; `started` (ms) is now if None. A parent among the tags says its Kubeflow run."""
    parent = tags.get(PARENT_TAG)
    known = {**(kfp_run_of(client, parent) if parent else {}), **tags}
    run = client.create_run(experiment_id(client, protocol), start_time=started, tags=known, run_name=name)
    return str(run.info.run_id)


def open_spooled_run(
    client: "MlflowClient",
    *,
    spooled_as: str,
    protocol: str,
    tags: Mapping[str, str],
    name: str,
    started: int,
) -> str:
    """Open a run that could not be opened when its step began, unless that was done, and return its id."""
    found = client.search_runs(
        [experiment_id(client, protocol)], f"tags.{SPOOLED_TAG} = '{spooled_as}'", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    return open_step_run(
        client, protocol=protocol, tags={**tags, SPOOLED_TAG: spooled_as}, name=name, started=started
    )
