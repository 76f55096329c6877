"""The MLflow run of a Kubeflow run, from its first step to its end, after any cancellation, failure or retry.

Kubeflow reports little to the exit handler: COMPLETE or FAILED where a step lived to say so, otherwise RUNNING, without
an error. After "Retry" the exit handler does not run again. Therefore the last step that gathers results ends the run as
finished; the exit handler ends a run without that sign; a step that runs under an ended run opens it again; and the
first step of the next pipeline ends what earlier ones left open.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.servers.patience import AwayError
from components.tracking import pipeline_run
from components.tracking.experiments import experiment_id
from components.tracking.kubeflow_server import KubeflowRun, kubeflow_run
from components.tracking.page_links import pipeline_note
from components.tracking.pipeline_run import (
    PARENT_VARIABLE,
    asked,
    close_run,
    step_runs,
)
from components.tracking.run_results import Results, show
from components.tracking.store import all_runs, open_store, tracking_off

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

SUCCEEDED = ("SUCCEEDED", "COMPLETE", "CACHED", "SKIPPED")
FAILED = ("FAILED",)
CANCELLED = ("CANCELED", "CANCELLED")
"""Kubeflow's final states: those of the pipeline format, and those of servers that keep states in ML Metadata."""
GATHERED_TAG = "gathered"
"""This tag says that all results of a pipeline were gathered."""
CANCELLED_TEXT = "the pipeline was cancelled"
NO_SIGN = (
    "Kubeflow ended the run and no step says why: it was cancelled, or a pod could not start or was killed; "
    "`cascade-clip pipeline status` says more"
)
UNRECORDED = (
    "failed without a word: killed for lack of memory, ended by its time limit, or its pod could not start; "
    "`cascade-clip pipeline status` says more"
)


def open_run(*, pipeline: str, protocol: str, kfp_run: str) -> str:
    """Open the run of a pipeline, end what earlier ones left open, and return its id; "" while tracking is off.

    Raises:
        UserError: the store cannot be opened.
    """
    run_id = pipeline_run.open_run(pipeline=pipeline, protocol=protocol, kfp_run=kfp_run)
    if run_id:
        asked(lambda: _end_left(protocol, but=run_id))
    return run_id


def links(*, run_id: str, protocol: str) -> str:
    """Return the Markdown by which Kubeflow's page leads to a pipeline's run in MLflow.

    Raises:
        UserError: a variable with the address of a page holds none.
    """
    if not run_id:
        return "# MLflow\n\nTracking is off: the pipeline has no run in MLflow.\n"
    return asked(lambda: pipeline_note(experiment_id(open_store(), protocol), protocol, run_id))


def finish(run_id: str, page: Path, *, ends: bool = True) -> None:
    """Give a pipeline's run its best scores and the page of its results, and end it as finished.

    The last step that gathers results calls this; a step after which the pipeline may fail leaves the end to the exit
    handler (`ends`). Does nothing for the id "". A store that is away costs a warning only: the exit handler ends the
    run, too.
    """
    if tracking_off() or not run_id:
        return
    try:
        asked(lambda: _finish(run_id, page, ends))
    except AwayError as error:
        log.warning("%s\nthe exit handler ends the pipeline's run", error)


def close(*, kfp_run: str, protocol: str, state: str, error: str | None) -> None:
    """End the MLflow run of a Kubeflow run that has no sign of its end; the pipeline's exit handler calls this.

    Does nothing if the pipeline failed before it opened its run. `state` is what Kubeflow reports.

    Raises:
        UserError: the store cannot be opened.
    """
    if not tracking_off():
        asked(lambda: _close(kfp_run, protocol, state, error))


def run_ids(*, kfp_run: str, protocol: str) -> list[str]:
    """Return the ids of a Kubeflow run's runs in MLflow: one, and one more for each retry of the first step.

    Raises:
        UserError: the store cannot be opened.
    """
    if tracking_off():
        return []
    return asked(lambda: [run.info.run_id for run in _runs(open_store(), kfp_run, protocol)])


def reopen(client: "MlflowClient", run_id: str) -> None:
    """Open the run of a Kubeflow run again, whose exit handler has ended it: "Retry" runs this step again."""
    if os.environ.get(PARENT_VARIABLE) != run_id:
        return
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as missing:
        if missing.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    if run.info.status in ("FAILED", "KILLED") and "kfp_run" in run.data.tags:
        client.update_run(run_id, status="RUNNING")
        if "error" in run.data.tags:
            client.delete_tag(run_id, "error")
        log.info("the pipeline's MLflow run had ended as %s, and is open again", run.info.status)


def _finish(run_id: str, page: Path, ends: bool) -> None:
    client = open_store()
    run = client.get_run(run_id)
    show(client, run, step_runs(client, run), Results(page))
    if ends:
        client.set_tag(run_id, GATHERED_TAG, "true")
        client.set_terminated(run_id, "FINISHED")


def _close(kfp_run: str, protocol: str, state: str, error: str | None) -> None:
    client = open_store()
    for run in _runs(client, kfp_run, protocol)[:1]:
        _end(client, run, state, error, kubeflow_run(kfp_run))


def _runs(client: "MlflowClient", kfp_run: str, protocol: str) -> list["Run"]:
    """Return the runs of a pipeline, the newest first."""
    wanted = f"tags.kfp_run = '{kfp_run}' and tags.pipeline != ''"
    return all_runs(
        client, [experiment_id(client, protocol)], wanted, order_by=["attributes.start_time DESC"]
    )


def _end(
    client: "MlflowClient", run: "Run", state: str, error: str | None, server: KubeflowRun | None
) -> None:
    """End a run by its own sign, by what Kubeflow says, and by the last tries of its steps."""
    run_id = run.info.run_id
    if run.data.tags.get(GATHERED_TAG) == "true":
        if run.info.status == "RUNNING":
            client.set_terminated(run_id, "FINISHED")
        return
    tries = pipeline_run.last_tries(step_runs(client, run))
    silent = [step for step in tries if step.info.status == "RUNNING"]
    recorded = {step.data.tags.get("step", "") for step in tries if step.info.status == "FAILED"}
    cancelled = state in CANCELLED or (server is not None and server.cancelled)
    if state in SUCCEEDED and not cancelled:
        close_run(run_id=run_id, succeeded=True)
        return
    if state not in (*FAILED, *CANCELLED):
        client.set_tag(run_id, "kfp_state", state)
    reasons = [error] if error else []
    if not cancelled:
        reasons += [
            f"{step.data.tags.get('step', step.info.run_name)}: {pipeline_run.KILLED}" for step in silent
        ]
        named = recorded | {step.data.tags.get("step", "") for step in silent}
        unrecorded = [name for name in (server.failed if server else ()) if _step_name(name) not in named]
        reasons += [f"{name}: {UNRECORDED}" for name in unrecorded]
    failed = not cancelled and (state in FAILED or bool(recorded) or bool(server and server.failed))
    status: Literal["FAILED", "KILLED"] = "FAILED" if failed else "KILLED"
    if not reasons and not recorded:
        reasons = [CANCELLED_TEXT if cancelled else NO_SIGN]
    close_run(run_id=run_id, succeeded=False, error="\n".join(reasons) or None, status=status)


def _end_left(protocol: str, *, but: str) -> None:
    """End runs of pipelines that are open although Kubeflow has ended theirs: a retry has no exit handler."""
    client = open_store()
    left = all_runs(
        client,
        [experiment_id(client, protocol)],
        "attributes.status = 'RUNNING' and tags.pipeline != '' and tags.kfp_run != ''",
    )
    for run in left:
        if run.info.run_id == but:
            continue
        server = kubeflow_run(run.data.tags["kfp_run"])
        if server is not None and server.ended:
            _end(client, run, server.state, None, server)


def _step_name(name: str) -> str:
    """Return the name of a step in MLflow by its name in Kubeflow, such as "evaluate" by "evaluate-2"."""
    return name.rstrip("0123456789").rstrip("-").replace("-", "_")
