"""Runs on a cluster: submit a compiled pipeline, follow it to its end, say how it stands; upload it by name."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade_core.errors import UserError
from pipelines.kubeflow.cluster import Cluster
from pipelines.kubeflow.parameters import declared

FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
PAGE_SIZE = 100
ARCHIVED = "ARCHIVED"


@dataclass(frozen=True)
class Step:
    """One step of a run: its name and state, and its own error if it failed."""

    name: str
    state: str
    error: str | None


@dataclass(frozen=True)
class RunStatus:
    """How a run stands; `steps` by task id, in the order in which the server tells them."""

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
    """A pipeline version that the server keeps by name."""

    pipeline_id: str
    version_id: str
    link: str


def submit(
    cluster: Cluster,
    package: Path,
    *,
    parameters: Mapping[str, Any],
    experiment: str,
    name: str | None = None,
) -> RunStatus:
    """Start a run of a compiled pipeline in `experiment`, which is made if there is none of that name.

    Raises:
        UserError: the experiment is archived, or the server refuses.
    """
    experiment_id = open_experiment(cluster, experiment)
    name = name or timed_name(package)
    earlier = {run.run_id for run in _runs_named(cluster, experiment_id, name)}
    run = cluster.create(
        lambda: cluster.client.run_pipeline(
            experiment_id, name, pipeline_package_path=str(package), params=dict(parameters)
        ),
        find=lambda: next(
            (run for run in _runs_named(cluster, experiment_id, name) if run.run_id not in earlier), None
        ),
        about=f"run {name!r}",
    )
    return status(cluster, run.run_id)


def status(cluster: Cluster, run_id: str) -> RunStatus:
    """Say how a run and its steps stand.

    Raises:
        UserError: there is no such run, or the server refuses.
    """
    run = cluster.call(lambda: cluster.client.get_run(run_id), about=f"run {run_id!r}")
    details = (run.run_details and run.run_details.task_details) or []
    return RunStatus(
        run_id=run.run_id,
        name=run.display_name,
        state=_state(run.state),
        error=_message(run.error),
        link=cluster.link(f"runs/details/{run.run_id}"),
        steps={
            task.task_id: Step(task.display_name, _state(task.state), _message(task.error))
            for task in details
        },
    )


def follow(
    cluster: Cluster, run_id: str, *, every: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[RunStatus]:
    """Yield the status of a run now and whenever it or a step changed, the finished one last.

    Raises:
        UserError: there is no such run, or the server refuses, as it does when a token expires meanwhile; the
            run itself goes on.
    """
    last = None
    while True:
        now = status(cluster, run_id)
        if now != last:
            yield now
        if now.finished:
            return
        last = now
        sleep(every)


def upload(cluster: Cluster, package: Path, *, name: str, version: str | None = None) -> Uploaded:
    """Keep a compiled pipeline on the server under `name`: the first version of it, or a further one.

    Raises:
        UserError: the package is none, the version exists already, or the server refuses.
    """
    declared(package)
    version = version or timed_name(package)
    client, about = cluster.client, f"pipeline {name!r}"
    pipeline = _pipeline_named(cluster, name)
    if pipeline is None:
        pipeline = cluster.create(
            lambda: client.upload_pipeline(str(package), pipeline_name=name, namespace=cluster.namespace),
            find=lambda: _pipeline_named(cluster, name),
            about=about,
        )
        made = _versions(cluster, pipeline.pipeline_id)[0]
    else:

        def there() -> Any:
            listed = _versions(cluster, pipeline.pipeline_id)
            return next((one for one in listed if one.display_name == version), None)

        if there():
            raise UserError(
                f"{cluster.host}: {about} has a version {version!r} already; give another with --version"
            )
        made = cluster.create(
            lambda: client.upload_pipeline_version(str(package), version, pipeline_id=pipeline.pipeline_id),
            find=there,
            about=f"{about}, version {version!r}",
        )
    page = f"pipelines/details/{made.pipeline_id}/version/{made.pipeline_version_id}"
    return Uploaded(made.pipeline_id, made.pipeline_version_id, cluster.link(page))


def open_experiment(cluster: Cluster, name: str) -> str:
    """Give the id of the experiment of this name, made if there is none.

    Raises:
        UserError: the name is empty, the experiment is archived, or the server refuses.
    """
    if not name.strip():
        raise UserError("the experiment's name is empty; name one with --experiment")
    found = cluster.call(
        lambda: cluster.client.create_experiment(name, namespace=cluster.namespace),
        about=f"experiment {name!r}",
    )
    if _state(found.storage_state) == ARCHIVED:
        raise UserError(
            f"{cluster.host}: experiment {name!r} is archived, runs in it are not shown; restore it on its page "
            f"({cluster.link(f'experiments/details/{found.experiment_id}')}), or give another --experiment"
        )
    return str(found.experiment_id)


def timed_name(package: Path) -> str:
    """Name a run or version after the pipeline's file and the time, in UTC."""
    return f"{package.stem} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def named(name: str) -> str:
    """Write the filter for an exact name as the server wants it."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _runs_named(cluster: Cluster, experiment_id: str, name: str) -> list[Any]:
    listed = cluster.call(
        lambda: cluster.client.list_runs(
            experiment_id=experiment_id,
            filter=named(name),
            page_size=PAGE_SIZE,
            sort_by="created_at desc",
        ),
        about=f"runs of the name {name!r}",
    )
    return listed.runs or []


def _pipeline_named(cluster: Cluster, name: str) -> Any:
    listed = cluster.call(
        lambda: cluster.client.list_pipelines(filter=named(name), namespace=cluster.namespace),
        about=f"pipeline {name!r}",
    )
    return (listed.pipelines or [None])[0]


def _versions(cluster: Cluster, pipeline_id: str) -> list[Any]:
    listed = cluster.call(
        lambda: cluster.client.list_pipeline_versions(
            pipeline_id, page_size=PAGE_SIZE, sort_by="created_at desc"
        ),
        about=f"versions of pipeline {pipeline_id!r}",
    )
    return listed.pipeline_versions or []


def _state(state: Any) -> str:
    return str(state or "PENDING").upper().removeprefix("RUNTIME_STATE_")


def _message(error: Any) -> str | None:
    return str(error.message) if error is not None and error.message else None
