"""Pipelines that a server keeps by name, with their versions."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import kfp_server_api

from cascade_core.errors import UserError
from pipelines.kubeflow.cluster import NEWEST_FIRST, Connection, name_filter, timed_name
from pipelines.kubeflow.parameters import declared
from pipelines.kubeflow.run_texts import pipeline_description
from pipelines.kubeflow.specification import Specification

COMPARED_VERSIONS = 20
"""This many of the newest versions are compared with a pipeline that is submitted."""


@dataclass(frozen=True)
class Uploaded:
    """A pipeline version on the server; `new_pipeline` says that its pipeline was made with it."""

    pipeline_id: str
    version_id: str
    name: str
    link: str
    new_pipeline: bool = False


def upload(cluster: Connection, package: Path, *, name: str, version: str | None = None) -> Uploaded:
    """Store a compiled pipeline on the server as a version of the pipeline `name`, which is made if it is new.

    kfp's own upload of a new pipeline names the first version after the pipeline; therefore the pipeline is made first,
    without a version.

    Raises:
        UserError: the package is not a compiled pipeline, the version exists already, or the server refuses.
    """
    declared(package)
    version = version or timed_name(package)
    client, about, description = cluster.client, f"pipeline {name!r}", pipeline_description(package)
    existing = _find_pipeline(cluster, name)
    pipeline = existing or cluster.create(
        lambda: _create_pipeline(cluster, name, description),
        find=lambda: _find_pipeline(cluster, name),
        about=about,
    )

    def find_version() -> Any:
        listed = _versions(cluster, pipeline.pipeline_id, name)
        return next((entry for entry in listed if entry.display_name == version), None)

    if find_version():
        raise UserError(
            f"{cluster.host}: {about} has a version {version!r} already; give another with --version"
        )
    stored = cluster.create(
        lambda: client.upload_pipeline_version(
            str(package), version, pipeline_id=pipeline.pipeline_id, description=description
        ),
        find=find_version,
        about=f"{about}, version {version!r}",
    )
    return replace(_uploaded(cluster, stored), new_pipeline=existing is None)


def equal_version(cluster: Connection, package: Path, *, name: str) -> Uploaded | None:
    """Return the newest version of the pipeline `name` that equals a compiled package; None without such a version.

    Raises:
        UserError: the server refuses.
    """
    pipeline = _find_pipeline(cluster, name)
    if pipeline is None:
        return None
    ours = Specification.of_package(package)
    for entry in _versions(cluster, pipeline.pipeline_id, name, number=COMPARED_VERSIONS):
        if Specification.of(entry.pipeline_spec) == ours:
            return _uploaded(cluster, entry)
    return None


@lru_cache(maxsize=16)
def version_specification(cluster: Connection, pipeline_id: str, version_id: str) -> Specification:
    """Return the compiled pipeline of a version; runs of a version do not hold it themselves.

    Raises:
        UserError: the server refuses.
    """
    version = cluster.call(
        lambda: cluster.client.get_pipeline_version(pipeline_id, version_id),
        about=f"pipeline version {version_id!r}",
    )
    return Specification.of(version.pipeline_spec)


def _create_pipeline(cluster: Connection, name: str, description: str) -> Any:
    pipeline = kfp_server_api.V2beta1Pipeline(
        display_name=name, name=name, namespace=cluster.namespace, description=description
    )
    return kfp_server_api.PipelineServiceApi(cluster.api).pipeline_service_create_pipeline(pipeline)


def _find_pipeline(cluster: Connection, name: str) -> Any:
    answer = cluster.call(
        lambda: cluster.client.list_pipelines(filter=name_filter(name), namespace=cluster.namespace),
        about=f"pipeline {name!r}",
    )
    return (answer.pipelines or [None])[0]


def _versions(cluster: Connection, pipeline_id: str, name: str, number: int = 100) -> list[Any]:
    answer = cluster.call(
        lambda: cluster.client.list_pipeline_versions(pipeline_id, **{**NEWEST_FIRST, "page_size": number}),
        about=f"versions of pipeline {name!r}",
    )
    return answer.pipeline_versions or []


def _uploaded(cluster: Connection, version: Any) -> Uploaded:
    page = f"pipelines/details/{version.pipeline_id}/version/{version.pipeline_version_id}"
    return Uploaded(
        version.pipeline_id, version.pipeline_version_id, version.display_name, cluster.link(page)
    )
