"""A training step on several nodes: the step's pod starts the same step as a TrainJob and waits for it.

It copies the small inputs (index, split, vectors, checkpoint) to the volume that all nodes share. The nodes write their
output there, and the pod copies it to the step's output, if that is not on the volume itself.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cascade_core.data.prepared import data_root
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, read_json, write_json
from components.artifacts.manifest import MANIFEST_FILE, input_hash
from components.cluster import trainjob_run
from components.cluster.trainjob import PIPELINE_LABEL, QUEUE_MINUTES, Nodes, TrainJob, longest_name
from components.contract import step_named
from components.launching import last_words
from components.servers.patience import PATIENCE_VARIABLE
from components.tracking.pipeline_run import IMAGE_VARIABLE, KFP_VARIABLE, PARENT_VARIABLE

log = logging.getLogger(__name__)

WORK = ".trainjobs"
"""A folder on the shared volume with one folder per unfinished job."""
LOGS, WORDS = "logs", "last_words"
"""Folders in it: the output of the processes, and what they refuse."""
COPIED = ("prepared", "splits", "text", "trained")
GRACE_MINUTES = QUEUE_MINUTES + 5
"""The time that a job is followed beyond its running time: it waits for nodes, and its end is noticed late."""


def run_here_or_on_nodes(step: str, arguments: Mapping[str, Any], nodes: str) -> None:
    """Run a step in this pod if `nodes` is empty, else on the nodes that this JSON describes.

    Raises:
        UserError: `nodes` is invalid, or as for `run` or `components.launching.processes.run`.
        RuntimeError: as for these two.
    """
    if nodes:
        run(step, arguments, Nodes.model_validate_json(nodes))
        return
    from components.launching import processes  # imports torch, which a pod that only waits lacks

    processes.run(step, arguments)


def run(
    step: str, arguments: Mapping[str, Any], nodes: Nodes, *, jobs: trainjob_run.Jobs | None = None
) -> None:
    """Run `components.<step>.run(**arguments)` on several nodes, with its output in `arguments["out"]`.

    This removes a completed job and its folder. A failed job and its folder stay for inspection; a retry of the step
    starts the job again, and the training resumes from its last checkpoint. A retry also takes over a job that an evicted
    pod left, or its complete output, whatever became of the job since.

    Raises:
        UserError: CLIP weights or data are not on the shared volume, the cluster refuses the job, or the training refuses
            its input; then no job stays, and no folder in which nothing was trained.
        RuntimeError: the job failed, disappeared, or did not end in time; the message quotes the process that failed.
    """
    _check_shared(arguments, nodes)
    name = _name(step, arguments, nodes)
    work = Path(nodes.volumes[0].folder) / WORK / name
    out = Path(arguments["out"])
    done = out if nodes.is_shared(PurePosixPath(out)) else work / "done"
    if not done.exists():
        jobs = jobs or trainjob_run.connect()
        shutil.rmtree(work / WORDS, ignore_errors=True)  # those of an earlier try
        job = _job(step, arguments, nodes, name=name, work=work, out=done)
        try:
            trainjob_run.start(jobs, job)
        except UserError:
            _discard(work, done)
            raise
        _follow(jobs, name, nodes, work, done)
    else:
        log.info("TrainJob %s: its output is complete already", name)
    if done != out:
        with new_folder(out) as folder:
            shutil.copytree(done, folder, dirs_exist_ok=True)
    (jobs or trainjob_run.connect()).delete(name)
    shutil.rmtree(work, ignore_errors=True)  # a pod that was evicted at this line has removed it


def _follow(jobs: trainjob_run.Jobs, name: str, nodes: Nodes, work: Path, done: Path) -> None:
    """Wait until a job's output is complete; end the job if a process refuses its input."""
    try:
        trainjob_run.follow(
            jobs,
            name,
            minutes=nodes.minutes + GRACE_MINUTES,
            watch=lambda: last_words.raise_refusal(work / WORDS),
        )
    except last_words.RefusalError as error:
        jobs.delete(name)
        _discard(work, done)
        raise UserError(
            f"TrainJob {name} is removed, because the training refused its input: {error}"
        ) from error
    except RuntimeError as error:
        if done.is_dir():
            log.warning("%s; but its output is complete, and is taken", error)
            return
        lines = "\n".join(last_words.last_lines(work / LOGS))
        quoted = f"; the last lines of its first failed process:\n{lines}" if lines else ""
        raise RuntimeError(f"{error}; its output is in {work / LOGS}{quoted}") from error
    if not done.is_dir():
        raise RuntimeError(
            f"TrainJob {name} completed without output in {done}; check that its nodes and this pod mount the same volume"
        )


def _discard(work: Path, done: Path) -> None:
    """Remove a job's folder, unless a training has begun, from which a later one resumes."""
    if not any(done.parent.glob(f".{done.name}.*")):
        shutil.rmtree(work, ignore_errors=True)


def remove_jobs(run_ids: Iterable[str], *, jobs: trainjob_run.Jobs | None = None) -> None:
    """Remove the TrainJobs that these pipeline runs (ids in MLflow) have left; a cancellation does not end them.

    Raises:
        UserError: the cluster refuses.
    """
    for run_id in run_ids:
        jobs = jobs or trainjob_run.connect()
        for name in jobs.delete_of_pipeline(run_id):
            log.info("TrainJob %s: removed, because its pipeline has ended", name)


def _check_shared(arguments: Mapping[str, Any], nodes: Nodes) -> None:
    places = {"data": data_root(arguments["prepared"])}
    if clip := arguments.get("clip"):
        places["clip"] = clip
    for name, place in places.items():
        if not nodes.is_shared(PurePosixPath(place.resolve())):
            raise UserError(
                f"{name} lies in {place}, which not all nodes see (they see {nodes.shared_folders()}); for a training on several nodes give "
                "folders on the shared volume, or s3:// addresses with CASCADE_CACHE on it"
            )


def _name(step: str, arguments: Mapping[str, Any], nodes: Nodes) -> str:
    """Name a job by its content: retries of a step get the same name, other pipeline runs another one."""
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
    slug = re.sub("[^a-z0-9]+", "-", f"{step} {arguments.get('recipe', '')}".lower()).strip("-")
    room = longest_name(nodes.nodes) - len(digest) - 1
    return f"{slug[:room].strip('-')}-{digest}"


def _job(
    step: str, arguments: Mapping[str, Any], nodes: Nodes, *, name: str, work: Path, out: Path
) -> TrainJob:
    values = dict(arguments) | {"out": out}
    for folder in COPIED:
        if folder in values:
            values[folder] = _copy_of(values[folder], work / folder)
    stated = step_named(step)
    passed_on = (PARENT_VARIABLE, KFP_VARIABLE, PATIENCE_VARIABLE)
    return TrainJob(
        **nodes.model_dump(),
        name=name,
        labels={PIPELINE_LABEL: parent} if (parent := os.environ.get(PARENT_VARIABLE)) else {},
        command=stated.command,
        arguments=tuple(stated.words(values)),
        out=PurePosixPath(out),
        logs=PurePosixPath(work / LOGS),
        variables={name: value for name in passed_on if (value := os.environ.get(name))}
        | {IMAGE_VARIABLE: nodes.image, last_words.FOLDER_VARIABLE: str(work / WORDS)},
    )


def _copy_of(folder: Path, target: Path) -> Path:
    """Copy a step's folder and adapt the relative paths in its manifest to the new place."""
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
