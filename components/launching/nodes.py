"""A training step that outgrows its node: the same step as a TrainJob, started, followed, its folder handed on.

The step's pod only waits. What it was given (index, split, vectors, checkpoint: small) is copied to the volume
that all nodes share, the nodes write there, and what they wrote becomes the step's output.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cascade_core.data.prepared import data_root
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, read_json, write_json
from components.artifacts import MANIFEST_FILE, input_hash
from components.cluster import trainjob_run
from components.cluster.trainjob import Nodes, TrainJob
from components.contract import step_named
from components.patience import PATIENCE_VARIABLE
from components.tracking.pipeline_run import IMAGE_VARIABLE, KFP_VARIABLE, PARENT_VARIABLE

WORK = ".trainjobs"
"""Folder of the shared volume with a folder for each job that has not been handed on."""
COPIED = ("prepared", "splits", "text", "trained")
GRACE_MINUTES = 30
"""What a job may wait for nodes, beyond the time it may run."""


def run_where(step: str, arguments: Mapping[str, Any], nodes: str) -> None:
    """Run a step, by its name, where a pipeline says: in this pod if `nodes` is empty, else on the nodes that it describes (JSON).

    Raises:
        UserError: `nodes` describes none, or as `run` and `components.launching.processes.run` do.
        RuntimeError: as these do.
    """
    if nodes:
        run(step, arguments, Nodes.model_validate_json(nodes))
        return
    from components.launching import (
        processes as launch,  # brings torch, which a pod that only waits does without
    )

    launch.run(step, arguments)


def run(
    step: str, arguments: Mapping[str, Any], nodes: Nodes, *, jobs: trainjob_run.Jobs | None = None
) -> None:
    """Do `components.<step>.run(**arguments)` on several nodes; what it writes is in `arguments["out"]` at the end.

    A job that completes is removed with its folder. One that fails stays, to be looked at, and so does its
    folder: the same step tried again starts it anew, and the training goes on from its last checkpoint.

    Raises:
        UserError: CLIP weights or data lie where not all nodes see them, or the cluster refuses.
        RuntimeError: the job failed, is gone, or did not end in time.
    """
    _check_shared(arguments, nodes)
    name = _name(step, arguments, nodes)
    work = Path(nodes.volumes[0].folder) / WORK / name
    done = work / "done"
    if not done.exists():
        job = _job(step, arguments, nodes, name=name, work=work, out=done)
        jobs = jobs or trainjob_run.connect()
        trainjob_run.start(jobs, job)
        trainjob_run.follow(jobs, name, minutes=nodes.minutes + GRACE_MINUTES)
        if not done.is_dir():
            raise RuntimeError(
                f"TrainJob {name} completed, and left nothing in {done}; is the volume one and the same?"
            )
    with new_folder(arguments["out"]) as folder:
        shutil.copytree(done, folder, dirs_exist_ok=True)
    (jobs or trainjob_run.connect()).delete(name)
    shutil.rmtree(work)


def _check_shared(arguments: Mapping[str, Any], nodes: Nodes) -> None:
    places = {"data": data_root(arguments["prepared"])}
    if clip := arguments.get("clip"):
        places["clip"] = clip
    for name, place in places.items():
        if not nodes.shares(PurePosixPath(place.resolve())):
            raise UserError(
                f"{name} lies in {place}, which not all nodes see ({nodes.shared()}); a training on several nodes "
                "takes folders of the shared volume, and s3:// addresses only where CASCADE_CACHE is on it"
            )


def _name(step: str, arguments: Mapping[str, Any], nodes: Nodes) -> str:
    """Name a job after what it does: the same when a step is tried again, another one in another pipeline run."""
    content = {
        "run": os.environ.get(PARENT_VARIABLE, ""),
        "nodes": nodes.model_dump(mode="json"),
        **{
            name: input_hash(value) if isinstance(value, Path) else value
            for name, value in arguments.items()
            if name != "out"
        },
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    named = re.sub("[^a-z0-9]+", "-", f"{step} {arguments.get('recipe', '')}".lower()).strip("-")
    return f"{named[:36].strip('-')}-{digest}"


def _job(
    step: str, arguments: Mapping[str, Any], nodes: Nodes, *, name: str, work: Path, out: Path
) -> TrainJob:
    given = dict(arguments) | {"out": out}
    for folder in COPIED:
        if folder in given:
            given[folder] = _copied(given[folder], work / folder)
    stated = step_named(step)
    known = {name: os.environ.get(name) for name in (PARENT_VARIABLE, KFP_VARIABLE, PATIENCE_VARIABLE)}
    return TrainJob(
        **nodes.model_dump(),
        name=name,
        command=stated.command,
        arguments=tuple(stated.words(given)),
        out=PurePosixPath(out),
        variables={name: value for name, value in known.items() if value} | {IMAGE_VARIABLE: nodes.image},
    )


def _copied(folder: Path, target: Path) -> Path:
    """Copy a step's folder, with the relative paths in its manifest made to lead to where they led."""
    if not target.exists():
        with new_folder(target) as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            if (folder / MANIFEST_FILE).is_file():
                manifest = read_json(folder / MANIFEST_FILE)
                for record in manifest["inputs"].values():
                    place = os.path.normpath(folder.resolve() / record["path"])
                    record["path"] = Path(os.path.relpath(place, target.resolve())).as_posix()
                write_json(copy / MANIFEST_FILE, manifest)
    return target
