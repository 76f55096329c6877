"""Runs on a cluster: submit a compiled pipeline, and follow its run."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api

from cascade_core.errors import UserError
from components.tracking.kubeflow_server import FINAL
from pipelines.kubeflow.argo_nodes import state_of
from pipelines.kubeflow.cluster import NEWEST_FIRST, Connection, name_filter, timed_name
from pipelines.kubeflow.reasons import reason_of
from pipelines.kubeflow.run_steps import Step, run_state, steps_of
from pipelines.kubeflow.run_texts import all_parameters, run_description
from pipelines.kubeflow.specification import Specification
from pipelines.kubeflow.uploads import equal_version, version_specification

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunStatus:
    """The state of a run and of its `steps`, in the order of the graph; a terminated run is CANCELED."""

    run_id: str
    name: str
    state: str
    link: str
    steps: tuple[Step, ...]

    @property
    def finished(self) -> bool:
        return self.state in FINAL

    @property
    def succeeded(self) -> bool:
        return self.state == "SUCCEEDED"


def submit(
    cluster: Connection,
    package: Path,
    *,
    parameters: Mapping[str, Any],
    experiment: str,
    name: str | None = None,
    description: str | None = None,
) -> RunStatus:
    """Start a run of a compiled pipeline in `experiment`, which is created if it does not exist.

    If the server keeps a version that equals the pipeline, under the name of its file, the run is of that version. The
    request states all parameters, also those that have their defaults, and a description (`run_description` by default).

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
    source = pipeline_source(cluster, package)
    body = kfp_server_api.V2beta1Run(
        experiment_id=experiment_id,
        display_name=name,
        description=run_description(package, parameters) if description is None else description,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=all_parameters(package, parameters)),
        **_named_source(source),
    )
    # kfp's own client takes no description.
    run = cluster.create(
        lambda: kfp_server_api.RunServiceApi(cluster.api).run_service_create_run(run=body),
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
    return RunStatus(
        run_id=run.run_id,
        name=run.display_name,
        state=run_state(run),
        link=cluster.link(f"runs/details/{run.run_id}"),
        steps=steps_of(run, _specification(cluster, run)),
    )


def _specification(cluster: Connection, run: Any) -> Specification:
    version = run.pipeline_version_reference
    if run.pipeline_spec or version is None or not version.pipeline_version_id:
        return Specification.of(run.pipeline_spec)
    return version_specification(cluster, version.pipeline_id, version.pipeline_version_id)


def pipeline_source(cluster: Connection, package: Path) -> dict[str, str]:
    """Return how kfp's client names a pipeline: by the ids of an equal version on the server, else by its file.

    Raises:
        UserError: the server refuses.
    """
    version = equal_version(cluster, package, name=package.stem)
    if version is None:
        return {"pipeline_package_path": str(package)}
    log.info("the pipeline is version %s of %s on the server", version.name, package.stem)
    return {"pipeline_id": version.pipeline_id, "version_id": version.version_id}


def _named_source(source: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a run's body for what `pipeline_source` returns."""
    if "version_id" in source:
        reference = kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=source["pipeline_id"], pipeline_version_id=source["version_id"]
        )
        return {"pipeline_version_reference": reference}
    package = Path(source["pipeline_package_path"])
    return {"pipeline_spec": Specification.of_package(package).to_server()}


def explain(cluster: Connection, run_id: str, step: Step) -> list[str]:
    """Explain why a step failed: a sentence, and the last lines of its log where the server still has it.

    Raises:
        UserError: the server does not answer, or refuses the token.
    """
    return reason_of(step, cluster.log_of(run_id, step.node))


def follow(
    cluster: Connection, run_id: str, *, every: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[RunStatus]:
    """Yield a run's status now and once in `every` seconds, up to its end.

    Raises:
        UserError: there is no such run, or the server refuses, for example when the token expires; the run goes on.
    """
    last = None
    while last is None or not last.finished:
        if last is not None:
            sleep(every)
        last = status(cluster, run_id)
        yield last


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
    if state_of(experiment.storage_state) == "ARCHIVED":
        page = cluster.link(f"experiments/details/{experiment.experiment_id}")
        raise UserError(
            f"{cluster.host}: experiment {name!r} is archived, so its runs are hidden; restore it on its page "
            f"({page}), or give another --experiment"
        )
    return str(experiment.experiment_id)
