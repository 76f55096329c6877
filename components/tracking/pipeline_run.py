"""The MLflow run of a whole pipeline; the runs of its steps are its children.

A step reads its parent from the environment: `CASCADE_PARENT_RUN` holds the run's id, or `CASCADE_PARENT_FILE` names
a file with it, which the first step writes. A workflow in which nothing changed therefore leaves no run.
"""

import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from cascade_core.errors import UserError
from components.artifacts.manifest import git_commit
from components.servers.addresses import masked
from components.servers.own_variables import plugin
from components.servers.paging import all_of
from components.servers.patience import AwayError, patiently
from components.tracking.experiments import NOTE_TAG, experiment_id
from components.tracking.faults import away, first_line
from components.tracking.page_links import where_runs_of
from components.tracking.run_results import KFP_TAG, Results, evaluated, gather, show, source
from components.tracking.store import (
    all_runs,
    masked_uri,
    open_store,
    tracking_off,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PARENT_VARIABLE, FILE_VARIABLE = "CASCADE_PARENT_RUN", "CASCADE_PARENT_FILE"
KFP_VARIABLE, IMAGE_VARIABLE = "KFP_RUN_ID", "CASCADE_IMAGE"
PARENT_TAG = "mlflow.parentRunId"
WORKFLOW = "workflow"
"""The name of a workflow's run on one workstation."""

LEFT = "its process ended without a word; the next start of the same work closed it"
KILLED = "its process ended without a word: killed for lack of memory, by a time limit or by a cancellation"
WORK_TAG, PROCESS_TAG = "work", "process"
"""Tags of an open run: a hash of what it works on and where, and the process that works."""
SAME_WORK = ("step", "protocol", "method", "setting", "seed", "split")
"""Tags that are equal for a step's run and its retry."""


def open_run(*, pipeline: str, protocol: str, kfp_run: str | None = None) -> str:
    """Open a pipeline's run in the protocol's experiment, and return its id; "" while tracking is off.

    Raises:
        UserError: the store cannot be opened.
    """
    if tracking_off():
        return ""
    return asked(lambda: _open_run(pipeline, protocol, kfp_run))


def asked(request: Callable[[], Answer]) -> Answer:
    """Return what requests to the store return; repeat them together while the store is away, as `patiently` says."""

    def translated() -> Answer:
        try:
            return request()
        except Exception as error:
            if isinstance(error, UserError) or not away(error):
                raise
            raise AwayError(
                f"the MLflow store at {masked_uri()} does not answer ({first_line(error)})"
            ) from error

    return patiently(translated)


def _open_run(pipeline: str, protocol: str, kfp_run: str | None) -> str:
    client = open_store()
    tags = {**surroundings(), "pipeline": pipeline, "protocol": protocol}
    if kfp_run:
        tags[KFP_TAG] = kfp_run
    tags[NOTE_TAG] = source(tags)
    tags |= {"mlflow.source.name": f"cascade-clip {pipeline}", "mlflow.source.type": "JOB"}
    if "git_commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git_commit"]
    tags |= work_tags(pipeline, protocol, Path.cwd())
    experiment = experiment_id(client, protocol)
    tags |= _plugins_tags(client)
    # The time distinguishes one night's run from the next in a list of runs.
    name = f"{pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M}" if kfp_run else pipeline
    run = client.create_run(experiment, tags=tags, run_name=name)
    for left in left_open(client, experiment, tags[WORK_TAG], but=run.info.run_id):
        close_run(run_id=left, succeeded=False, error=LEFT, status="KILLED")
    return str(run.info.run_id)


def _plugins_tags(client: "MlflowClient") -> dict[str, str]:
    """Return the tag that hangs a pipeline's run below that of Kubeflow's MLflow plugin, if both are on one server."""
    from mlflow.exceptions import MlflowException

    theirs = plugin()
    if theirs is None or not theirs.run_id:
        return {}
    if theirs.endpoint != tracking_uri().rstrip("/"):
        log.info("Kubeflow's MLflow plugin keeps a run of its own at %s", masked(theirs.endpoint))
        return {}
    try:
        client.get_run(theirs.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {PARENT_TAG: theirs.run_id}


def work_tags(*facts: object) -> dict[str, str]:
    """Return the tags `work` and `process` of a run: equal work in one place, or in one Kubeflow run, has equal `work`."""
    import psutil

    place = os.environ.get(KFP_VARIABLE) or socket.gethostname()
    digest = hashlib.sha256(json.dumps([place, *facts], default=str, sort_keys=True).encode()).hexdigest()
    me = psutil.Process()
    return {WORK_TAG: digest[:32], PROCESS_TAG: f"{socket.gethostname()} {me.pid} {me.create_time():.2f}"}


def left_open(client: "MlflowClient", experiment: str, work: str, *, but: str) -> list[str]:
    """Return the ids of RUNNING runs of the same work, except `but`, whose processes have ended.

    A process on another machine counts as ended: a second pod of a step starts after the first.
    """
    runs = all_runs(client, [experiment], f"attributes.status = 'RUNNING' and tags.{WORK_TAG} = '{work}'")
    return [
        run.info.run_id
        for run in runs
        if run.info.run_id != but and not _works(run.data.tags.get(PROCESS_TAG, ""))
    ]


def _works(process: str) -> bool:
    """Return whether the process of a tag is alive on this machine; our own has left each run but its last."""
    import psutil

    host, _, rest = process.partition(" ")
    pid, _, started = rest.partition(" ")
    if host != socket.gethostname() or not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == started
    except psutil.NoSuchProcess:
        return False


def close_run(
    *,
    run_id: str,
    succeeded: bool,
    error: str | None = None,
    status: Literal["FAILED", "KILLED"] = "FAILED",
    results: Results | None = None,
) -> None:
    """End a pipeline's run as finished, or as failed or killed with the error; does nothing for the id "".

    Steps that are still marked RUNNING were killed, and get that status. The run copies its steps' data hash and
    split, the best scores, and the errors of failed steps, and shows `results`. Of two calls, the second wins.

    Raises:
        UserError: the store cannot be opened, or has no such run.
    """
    if tracking_off() or not run_id:
        return
    from mlflow.exceptions import MlflowException

    client = open_store()
    try:
        run = client.get_run(run_id)
        steps = step_runs(client, run)
    except MlflowException as missing:
        raise UserError(f"the store has no run {run_id!r} to close ({first_line(missing)})") from missing
    for step in steps:
        if step.info.status == "RUNNING":
            client.set_tag(step.info.run_id, "error", KILLED)
            client.set_terminated(step.info.run_id, "KILLED")
    if results is None:
        gather(client, run_id, steps, evaluated(steps))
    else:
        show(client, run, steps, results)
    errors = [] if succeeded else [*step_errors(steps), *([error] if error else [])]
    if errors:
        client.set_tag(run_id, "error", "\n".join(errors)[:6000])
    client.set_terminated(run_id, "FINISHED" if succeeded else status)


@contextmanager
def whole_run(*, pipeline: str, protocol: str) -> Iterator[None]:
    """Open a pipeline's run during the block; all steps in the block and in processes it starts are its children.

    The run ends with the block's status. A store that is unavailable at the end costs only a warning.

    Raises:
        UserError: the store cannot be opened at the start.
    """
    run_id, outer = open_run(pipeline=pipeline, protocol=protocol), os.environ.get(PARENT_VARIABLE)
    os.environ[PARENT_VARIABLE] = run_id
    failure: str | None = None
    status: Literal["FAILED", "KILLED"] = "FAILED"
    try:
        if lines := where_runs_of(protocol):
            log.info("runs in MLflow: %s", ", then ".join(lines))
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        failure = masked(f"{type(error).__name__}: {error}")
        raise
    finally:
        os.environ.pop(PARENT_VARIABLE)
        if outer is not None:
            os.environ[PARENT_VARIABLE] = outer
        try:
            results = Results() if failure is None else None
            close_run(run_id=run_id, succeeded=failure is None, error=failure, status=status, results=results)
        except UserError as unclosed:
            log.warning("the pipeline's MLflow run stays open: %s", unclosed)


def join(run_id: str) -> None:
    """Make the steps of this process children of a pipeline's run; does nothing for the id ""."""
    if run_id:
        os.environ[PARENT_VARIABLE] = run_id


def parent_run(protocol: str) -> str | None:
    """Return the id of a step's parent run, which the first step of a workflow opens; None outside of pipelines."""
    from filelock import FileLock

    if run_id := os.environ.get(PARENT_VARIABLE):
        return run_id
    if not (name := os.environ.get(FILE_VARIABLE)):
        return None
    file = Path(name)
    with FileLock(file.with_name(f".{file.name}.lock")):
        run_id = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        if not run_id:
            run_id = open_run(pipeline=WORKFLOW, protocol=protocol)
            file.write_text(run_id, encoding="utf-8")
        return run_id


def kfp_run_of(client: "MlflowClient", parent: str) -> dict[str, str]:
    """Return the parent's tag `kfp_run` for a step, which knows only the parent's id.

    Returns no tag for a parent that was deleted or is in another store.
    """
    from mlflow.exceptions import MlflowException

    try:
        kfp_run = client.get_run(parent).data.tags.get(KFP_TAG)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {KFP_TAG: kfp_run} if kfp_run else {}


def surroundings() -> dict[str, str]:
    """Return the tags `git_commit`, `kfp_run` and `image`, as far as they are known."""
    tags = {
        "git_commit": git_commit(),
        KFP_TAG: os.environ.get(KFP_VARIABLE),
        "image": os.environ.get(IMAGE_VARIABLE),
    }
    return {name: value for name, value in tags.items() if value}


def step_runs(client: "MlflowClient", run: "Run") -> list["Run"]:
    """Return the runs of a pipeline's steps from all experiments: label files and comparisons have their own."""
    experiments = all_of(lambda token: client.search_experiments(page_token=token))
    return all_runs(
        client,
        [experiment.experiment_id for experiment in experiments],
        f"tags.`{PARENT_TAG}` = '{run.info.run_id}'",
    )


def last_tries(steps: list["Run"]) -> list["Run"]:
    """Leave out the runs of steps that were retried."""
    by_start = sorted(steps, key=lambda step: step.info.start_time)
    return list({tuple(map(step.data.tags.get, SAME_WORK)): step for step in by_start}.values())


def step_errors(steps: list["Run"]) -> list[str]:
    """Return the errors of failed steps."""
    return [
        f"{step.data.tags.get('step', step.info.run_name)}: {step.data.tags['error']}"
        for step in last_tries(steps)
        if step.info.status == "FAILED" and "error" in step.data.tags
    ]
