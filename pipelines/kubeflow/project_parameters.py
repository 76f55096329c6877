"""The parameters of a pipeline that a project's settings state, with the places of its files in the pods or here."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cascade_core.configs.overrides import dotted
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from components.inputs.own_data import OwnData
from components.results.margins import Margins
from components.storage.places import in_store
from pipelines.graphs.project import PARAMETERS, Cluster, Project, read_project

EXAMPLE = "cluster: {folder: /data/pets, clip: /data/clip/ViT-B-16}"


DATA = ("raw", "clip", "protocol", "image_sets", "folders", "split")
"""The parameters that say what the data are."""


def project_parameters(
    folder: Path, *, in_pods: bool, but: Collection[str] = (), whole: bool = True
) -> dict[str, Any]:
    """Return the parameters that the project in `folder` states, without those in `but`; only `DATA` unless `whole`.

    Paths are those in the pods (section `cluster` of the settings), or on this machine.

    Raises:
        UserError: there is no project, its settings are wrong, or they do not say where the pods find a file.
    """
    project = read_project(folder)
    data = project.data
    places = {"raw": data.raw, "clip": data.clip}
    if is_label_file(project.protocol):
        places["protocol"] = project.protocol
    values: dict[str, Any] = {
        "protocol": project.protocol,
        "recipes": list(project.recipes.values()),
        "overrides": json.dumps(dotted(project.overrides or {}), allow_nan=False),
        "seed": project.seed,
        "split": project.evaluate.split,
        "gate_split": project.gate.split,
        "margins": json.dumps(project.gate.model_dump(include=set(Margins.model_fields)), allow_nan=False),
        "task": project.task or "",
    }
    places = {name: path for name, path in places.items() if name not in but}
    values |= _in_pods(project, folder, places) if in_pods else _here(folder, places)
    if project.self_training != "none":
        values["self_training"] = project.self_training
    if project.own is None:
        values["image_sets"] = json.dumps(data.image_sets, allow_nan=False)
    else:
        stated = project.own.model_dump(mode="json", include=set(OwnData.model_fields), exclude_defaults=True)
        values["folders"] = json.dumps(stated, allow_nan=False)
    return {name: value for name, value in values.items() if name not in but and (whole or name in DATA)}


def _here(folder: Path, places: Mapping[str, str]) -> dict[str, str]:
    return {name: str(folder / path) for name, path in places.items()}


def _in_pods(project: Project[Any], folder: Path, places: Mapping[str, str]) -> dict[str, str]:
    """Return the places of files in the pods: each its own, else below that of the project's folder."""
    values = {name: _place_in_pods(project.cluster, name, path) for name, path in places.items()}
    if missing := [name for name, value in values.items() if value is None]:
        fields = ", ".join(f"cluster.{_field(name)} (of {places[name]})" for name in missing)
        options = " ".join(f"-p {name}=PLACE" for name in missing)
        raise UserError(
            f"{folder / PARAMETERS}: {fields} {'is' if len(missing) == 1 else 'are'} missing: state where the pods find "
            f"{'it' if len(missing) == 1 else 'them'}, such as {EXAMPLE}, or give {options}"
        )
    return {name: str(value) for name, value in values.items()}


def _place_in_pods(cluster: Cluster | None, name: str, path: str) -> str | None:
    """Return the place of a file in the pods; None if nothing states it."""
    if cluster is None:
        return None
    stated: str | None = getattr(cluster, _field(name))
    if stated is not None:
        return stated
    if in_store(path):
        return path
    if cluster.folder is not None and not PurePosixPath(path).is_absolute():
        return f"{cluster.folder.rstrip('/')}/{path}"
    return None


def _field(name: str) -> str:
    """Return the key of the section `cluster` for a parameter."""
    return "labels" if name == "protocol" else name
