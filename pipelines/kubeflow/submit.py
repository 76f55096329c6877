"""Runs and uploads on a cluster: submit a compiled pipeline, follow its run, or store it on the server by name."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade_core.errors import UserError
from pipelines.kubeflow.cluster import Connection
from pipelines.kubeflow.parameters import declared

FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
PAGE_SIZE = 100
NEWEST_FIRST: dict[str, Any] = {"page_size": PAGE_SIZE, "sort_by": "created_at desc"}


@dataclass(frozen=True)
class Step:
    """A step of a run, its state, and its error if it failed."""

    name: str
    state: str
    error: str | None


@dataclass(frozen=True)
class RunStatus:
    """The state of a run and of its `steps`, which are keyed by task id, in the server's order."""

    run_id: str
    name: str
    state: str
    error: str | None
    link: str
    steps: Mapping[str, Step]

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def succeeded(self) -> bool:
        return self.state == "SUCCEEDED"


@dataclass(frozen=True)
class Uploaded:
    """A pipeline version on the server."""

    pipeline_id: str
    version_id: str
    link: str


def submit(
    cluster: Connection,
    package: Path,
    *,
    parameters: Mapping[str, Any],
    experiment: str,
    name: str | None = None,
) -> RunStatus:
    """Start a run of a compiled pipeline in `experiment`, which is created if it does not exist.

    Raises:
        UserError: the experiment is archived, or the server refuses.
    """
    experiment_id = open_experiment(cluster, experiment)
    name = name or timed_name(package)

    def runs() -> list[Any]:
        answer = cluster.call(
            lambda: cluster.client.list_runs(
                experiment_id=experiment_id, filter=name_filter(name), **NEWEST_FIRST
            ),
            about=f"runs named {name!r}",
        )
        return answer.runs or []

    earlier = {run.run_id for run in runs()}
    run = cluster.create(
        lambda: cluster.client.run_pipeline(
            experiment_id, name, pipeline_package_path=str(package), params=dict(parameters)
        ),
        find=lambda: next((run for run in runs() if run.run_id not in earlier), None),
        about=f"run {name!r}",
    )
    return status(cluster, run.run_id)


def status(cluster: Connection, run_id: str) -> RunStatus:
    """Return the state of a run and of its steps.

    Raises:
        UserError: there is no such run, or the server refuses.
    """
    run = cluster.call(lambda: cluster.client.get_run(run_id), about=f"run {run_id!r}")
    tasks = (run.run_details and run.run_details.task_details) or []
    return RunStatus(
        run_id=run.run_id,
        name=run.display_name,
        state=_state(run.state),
        error=_message(run.error),
        link=cluster.link(f"runs/details/{run.run_id}"),
        steps={
            task.task_id: Step(task.display_name, _state(task.state), _message(task.error)) for task in tasks
        },
    )


def follow(
    cluster: Connection, run_id: str, *, every: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[RunStatus]:
    """Yield a run's status now and after each change, up to its end; poll once in `every` seconds.

    Raises:
        UserError: there is no such run, or the server refuses, for example when the token expires; the run goes on.
    """
    last = None
    while last is None or not last.finished:
        if last is not None:
            sleep(every)
        now = status(cluster, run_id)
        if now != last:
            yield now
        last = now


def upload(cluster: Connection, package: Path, *, name: str, version: str | None = None) -> Uploaded:
    """Store a compiled pipeline on the server as the first or a further version of the pipeline `name`.

    Raises:
        UserError: the package is not a compiled pipeline, the version exists already, or the server refuses.
    """
    declared(package)
    version = version or timed_name(package)
    client, about = cluster.client, f"pipeline {name!r}"

    def find_pipeline() -> Any:
        answer = cluster.call(
            lambda: client.list_pipelines(filter=name_filter(name), namespace=cluster.namespace), about=about
        )
        return (answer.pipelines or [None])[0]

    def versions() -> list[Any]:
        answer = cluster.call(
            lambda: client.list_pipeline_versions(pipeline.pipeline_id, **NEWEST_FIRST),
            about=f"versions of {about}",
        )
        return answer.pipeline_versions or []

    def find_version() -> Any:
        return next((entry for entry in versions() if entry.display_name == version), None)

    pipeline = find_pipeline()
    if pipeline is None:
        pipeline = cluster.create(
            lambda: client.upload_pipeline(str(package), pipeline_name=name, namespace=cluster.namespace),
            find=find_pipeline,
            about=about,
        )
        stored = versions()[0]
    elif find_version():
        raise UserError(
            f"{cluster.host}: {about} has a version {version!r} already; give another with --version"
        )
    else:
        stored = cluster.create(
            lambda: client.upload_pipeline_version(str(package), version, pipeline_id=pipeline.pipeline_id),
            find=find_version,
            about=f"{about}, version {version!r}",
        )
    page = f"pipelines/details/{stored.pipeline_id}/version/{stored.pipeline_version_id}"
    return Uploaded(stored.pipeline_id, stored.pipeline_version_id, cluster.link(page))


def open_experiment(cluster: Connection, name: str) -> str:
    """Return the id of the experiment `name`, which is created if it does not exist.

    Raises:
        UserError: the name is empty, the experiment is archived, or the server refuses.
    """
    if not name.strip():
        raise UserError("the experiment's name is empty; name one with --experiment")
    experiment = cluster.call(
        lambda: cluster.client.create_experiment(name, namespace=cluster.namespace),
        about=f"experiment {name!r}",
    )
    if _state(experiment.storage_state) == "ARCHIVED":
        page = cluster.link(f"experiments/details/{experiment.experiment_id}")
        raise UserError(
            f"{cluster.host}: experiment {name!r} is archived, so its runs are hidden; restore it on its page "
            f"({page}), or give another --experiment"
        )
    return str(experiment.experiment_id)


def timed_name(package: Path) -> str:
    """Name a run or version after the pipeline's file and the time in UTC."""
    return f"{package.stem} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def name_filter(name: str) -> str:
    """Return the server's filter for an exact name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _state(state: Any) -> str:
    return str(state or "PENDING").upper().removeprefix("RUNTIME_STATE_")


def _message(error: Any) -> str | None:
    return str(error.message) if error is not None and error.message else None
