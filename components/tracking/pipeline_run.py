"""The MLflow run of a whole pipeline, whose children are the runs of its steps.

A step finds its parent in the environment: `CASCADE_PARENT_RUN` holds its id; or `CASCADE_PARENT_FILE` names a
file that holds it, or will once the first step has opened it, so that a workflow in which nothing changed
leaves no run.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from components.artifacts import git_commit
from components.paging import all_of
from components.tracking.store import all_runs, experiment_id, first_line, masked, open_store, tracking_off

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

PARENT_VARIABLE, FILE_VARIABLE = "CASCADE_PARENT_RUN", "CASCADE_PARENT_FILE"
KFP_VARIABLE, IMAGE_VARIABLE = "KFP_RUN_ID", "CASCADE_IMAGE"
PARENT_TAG = "mlflow.parentRunId"
WORKFLOW = "workflow"
"""What the run of a workflow on one workstation is called."""

CROSS_DATASET = "cross-dataset"
"""The experiment of what is about many data sets, and has no protocol of its own."""

GATHERED = ("data_hash", "split")
"""Tags that the steps know and their parent takes over."""

SUCCEEDED = ("SUCCEEDED", "COMPLETE", "CACHED", "SKIPPED")
FAILED = ("FAILED", "CANCELED", "CANCELLED")
"""How Kubeflow names ends: in the pipeline format's words, or, from servers that keep states in ML Metadata, in its words."""
SAME_WORK = ("step", "protocol", "method", "setting", "seed", "split")
"""Tags that a step's run has in common with the one of its next try."""


def open_run(*, pipeline: str, protocol: str, kfp_run: str | None = None) -> str:
    """Open the run of a pipeline in the protocol's experiment and return its id; "" while tracking is off.

    Raises:
        UserError: the store cannot be opened.
    """
    if tracking_off():
        return ""
    return _open(open_store(), pipeline, protocol, kfp_run)


def close_run(*, run_id: str, succeeded: bool, error: str | None = None) -> None:
    """End the run of a pipeline as finished, or as failed with the error; nothing is done for the id "".

    Steps that are still said to run, because their process was killed, end as killed. The run takes over its
    steps' data hash and split, and what those that failed said. Closing twice leaves what was said last.

    Raises:
        UserError: the store cannot be opened, or has no such run.
    """
    if tracking_off() or not run_id:
        return
    from mlflow.exceptions import MlflowException

    client = open_store()
    try:
        steps = _steps(client, client.get_run(run_id))
    except MlflowException as missing:
        raise UserError(f"the store has no run {run_id!r} to close ({first_line(missing)})") from missing
    for step in steps:
        if step.info.status == "RUNNING":
            client.set_terminated(step.info.run_id, "KILLED")
    for name in GATHERED:
        if values := sorted({step.data.tags[name] for step in steps if name in step.data.tags}):
            client.set_tag(run_id, name, ", ".join(values))
    said = [] if succeeded else [*_errors(steps), *([error] if error else [])]
    if said:
        client.set_tag(run_id, "error", "\n".join(said)[:6000])
    client.set_terminated(run_id, "FINISHED" if succeeded else "FAILED")


@contextmanager
def whole_run(*, pipeline: str, protocol: str) -> Iterator[None]:
    """Open the run of a pipeline around a block: what is tracked in it, and in processes it starts, is its steps'.

    The run ends as the block does. A store that is lost in the end costs a warning.

    Raises:
        UserError: the store cannot be opened at the start.
    """
    run_id, outer = open_run(pipeline=pipeline, protocol=protocol), os.environ.get(PARENT_VARIABLE)
    os.environ[PARENT_VARIABLE] = run_id
    try:
        yield
    except BaseException as error:
        _close_or_warn(run_id, succeeded=False, error=masked(f"{type(error).__name__}: {error}"))
        raise
    else:
        _close_or_warn(run_id, succeeded=True, error=None)
    finally:
        os.environ.pop(PARENT_VARIABLE)
        if outer is not None:
            os.environ[PARENT_VARIABLE] = outer


def close_kfp_run(*, kfp_run: str, protocol: str, state: str, error: str | None) -> None:
    """End the run that `open_run` opened for a Kubeflow run: what an exit handler calls, whatever broke.

    A pipeline that broke before it had opened its run leaves nothing to close. Some servers still say `RUNNING` of
    what holds a loop: then a run failed if a step's last try did, and its tag `kfp_state` tells what was said.

    Raises:
        UserError: the store cannot be opened.
    """
    if tracking_off():
        return
    client = open_store()
    opened = client.search_runs(
        [experiment_id(client, protocol)],
        f"tags.kfp_run = '{kfp_run}' and tags.pipeline != ''",
        max_results=1,
    )
    for run in opened:
        succeeded = state in SUCCEEDED
        if state not in (*SUCCEEDED, *FAILED):
            client.set_tag(run.info.run_id, "kfp_state", state)
            succeeded = all(step.info.status == "FINISHED" for step in _last_tries(_steps(client, run)))
        close_run(run_id=run.info.run_id, succeeded=succeeded, error=error)


def join(run_id: str) -> None:
    """Make what this process tracks from now on part of a pipeline's run; nothing for the id ""."""
    if run_id:
        os.environ[PARENT_VARIABLE] = run_id


def parent_run(client: "MlflowClient", protocol: str) -> str | None:
    """Give the id of the run whose child a step's run becomes, opened if this is the first; None outside of one."""
    if run_id := os.environ.get(PARENT_VARIABLE):
        return run_id
    file = os.environ.get(FILE_VARIABLE)
    return _first_opens(client, Path(file), protocol) if file else None


def kfp_run_of(client: "MlflowClient", parent: str) -> dict[str, str]:
    """Give the tag of the Kubeflow run that a parent notes: its steps are told the parent's id, and no more.

    A parent that somebody deleted for good, or of another store, costs the tag and not the step.
    """
    from mlflow.exceptions import MlflowException

    try:
        known = client.get_run(parent).data.tags.get("kfp_run")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {"kfp_run": known} if known else {}


def surroundings() -> dict[str, str]:
    """Give the tags that say where a run took place: commit, Kubeflow run, image; those that are known."""
    known = {
        "git_commit": git_commit(),
        "kfp_run": os.environ.get(KFP_VARIABLE),
        "image": os.environ.get(IMAGE_VARIABLE),
    }
    return {name: value for name, value in known.items() if value}


def _close_or_warn(run_id: str, *, succeeded: bool, error: str | None) -> None:
    try:
        close_run(run_id=run_id, succeeded=succeeded, error=error)
    except UserError as unclosed:
        log.warning("the pipeline's MLflow run stays open: %s", unclosed)


def _first_opens(client: "MlflowClient", file: Path, protocol: str) -> str:
    from filelock import FileLock

    with FileLock(file.with_name(f".{file.name}.lock")):
        run_id = file.read_text().strip() if file.exists() else ""
        if not run_id:
            run_id = _open(client, WORKFLOW, protocol, None)
            file.write_text(run_id)
        return run_id


def _open(client: "MlflowClient", pipeline: str, protocol: str, kfp_run: str | None) -> str:
    tags = {
        **surroundings(),
        "pipeline": pipeline,
        "protocol": protocol,
        **({"kfp_run": kfp_run} if kfp_run else {}),
    }
    tags |= {"mlflow.source.name": f"cascade-clip {pipeline}", "mlflow.source.type": "JOB"}
    if "git_commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git_commit"]
    run = client.create_run(experiment_id(client, protocol), tags=tags, run_name=pipeline)
    return str(run.info.run_id)


def _steps(client: "MlflowClient", run: "Run") -> list["Run"]:
    """Give the runs of a pipeline's steps, wherever they lie: targets, label files and comparisons have experiments of their own."""
    experiments = all_of(lambda token: client.search_experiments(page_token=token))
    return all_runs(
        client, [one.experiment_id for one in experiments], f"tags.`{PARENT_TAG}` = '{run.info.run_id}'"
    )


def _last_tries(steps: list["Run"]) -> list["Run"]:
    """Leave out runs of steps that were tried again."""
    in_time = sorted(steps, key=lambda step: step.info.start_time)
    return list({tuple(map(step.data.tags.get, SAME_WORK)): step for step in in_time}.values())


def _errors(steps: list["Run"]) -> list[str]:
    """Give what steps that failed said of it."""
    return [
        f"{step.data.tags.get('step', step.info.run_name)}: {step.data.tags['error']}"
        for step in _last_tries(steps)
        if step.info.status == "FAILED" and "error" in step.data.tags
    ]
