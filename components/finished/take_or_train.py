"""A training of a pipeline: take the finished one of equal content, or train, and keep the result for later pipelines."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, sha256, write_json
from components.artifacts.manifest import (
    MANIFEST_FILE,
    TRACKING_FILE,
    input_hash,
    read_step_manifest,
    relative_path,
)
from components.contract import Call, Step
from components.finished.content_key import content_of, key_of
from components.finished.entries import Entry, Trainings, num_bytes
from components.finished.workplace import workplace
from components.results.names import FINAL_FOLDER
from components.servers.patience import AwayError
from components.tracking.pipeline_run import PARENT_VARIABLE
from components.tracking.tracker import tracked_step

log = logging.getLogger(__name__)

TAKEN_TAG, TRAINED_IN_TAG = "finished_training", "trained_in"
"""Tags of a step's run that took a finished training: its key, and the pipeline's run that trained it."""


def take_or_train(
    step: Step[Any, Any],
    arguments: Mapping[str, Any],
    *,
    reuse: bool,
    train: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Write a finished training of equal content to `arguments["out"]`, or else call `train` with the arguments.

    `train` writes to a working folder on the volume, and resumes there what an interruption left. Without `reuse`, a
    finished training is only taken if this pipeline's own run made it. If no place for trainings is named, this only
    calls `train`.

    Returns:
        Metadata for the output: the key of the content, and whether the training was taken.

    Raises:
        UserError: a place or an input is wrong, or as `train`. A kept training that is damaged costs a warning only.
    """
    if (place := workplace()) is None:
        train(arguments)
        return {}
    call = Call(step, arguments)
    content = content_of(call)
    key = key_of(content)
    with place.turn(key) as lease:
        entry = place.kept.find(key)
        if entry is not None:
            if (reuse or _made_by_this_run(entry)) and _took(place.kept, entry, call):
                return {TAKEN_TAG: key, "trained": False}
            place.kept.remove(key)
        folder = place.training(key)
        # An earlier call may have ended between its training and the place that keeps it.
        left = folder.is_dir() and _is_whole(folder)
        if not left:
            train({**arguments, step.output: folder})
        with new_folder(call.out) as out:
            shutil.copytree(folder, out, dirs_exist_ok=True)
            _adapt_paths(out, call)
        (folder / TRACKING_FILE).unlink(missing_ok=True)
        entry = _entry(key, content, call, folder)
        if left:
            _record(entry, call)
        try:
            lease.check()
            place.kept.add(entry, folder)
            place.leave(key)
        except UserError as error:
            log.warning("%s\nthe training is handed on, but not kept for later runs", error)
    return {TAKEN_TAG: key, "trained": not left}


def _made_by_this_run(entry: Entry) -> bool:
    return bool(entry.mlflow_run) and entry.mlflow_run == os.environ.get(PARENT_VARIABLE)


def _took(kept: Trainings, entry: Entry, call: Call) -> bool:
    """Copy a finished training to the call's output and record it in MLflow; False, with a warning, if it is damaged."""
    try:
        with new_folder(call.out) as out:
            kept.fetch(entry, out / "fetched")
            for part in (out / "fetched").iterdir():
                part.rename(out / part.name)
            (out / "fetched").rmdir()
            _adapt_paths(out, call)
    except AwayError:
        raise
    except UserError as error:
        log.warning("a finished training is passed over: %s", error)
        return False
    log.info(
        "took the finished training %s of %s from %s; nothing is trained",
        entry.key,
        f"{entry.finished:%Y-%m-%d %H:%M} UTC",
        kept,
    )
    _record(entry, call)
    return True


def _is_whole(folder: Path) -> bool:
    """Return whether a training's folder holds what its step wrote; remove it otherwise."""
    try:
        whole = input_hash(folder) == read_step_manifest(folder).content_sha256
    except UserError as error:
        log.warning("%s", error)
        whole = False
    if not whole:
        shutil.rmtree(folder)
    return whole


def _adapt_paths(folder: Path, call: Call) -> None:
    """Let the manifest of a training name the inputs of this call, whose contents are the same."""
    manifest = read_step_manifest(folder)
    paths = {name: relative_path(path, call.out) for name, path in call.inputs.items()}
    inputs = {
        name: record.model_copy(update={"path": paths.get(name, record.path)})
        for name, record in manifest.inputs.items()
    }
    adapted = manifest.model_copy(update={"inputs": inputs})
    write_json(folder / MANIFEST_FILE, adapted.model_dump(mode="json"))


def _entry(key: str, content: dict[str, str], call: Call, folder: Path) -> Entry:
    manifest = load_manifest(folder / FINAL_FOLDER)
    return Entry(
        key=key,
        content=content,
        step=call.step.name,
        recipe=manifest.config.recipe,
        method=manifest.config.method,
        setting=manifest.setting,
        protocol=manifest.config.data.protocol,
        seed=manifest.config.seed,
        data_hash=content["data"],
        mlflow_run=os.environ.get(PARENT_VARIABLE, ""),
        finished=datetime.now(UTC),
        num_bytes=num_bytes(folder),
        sha256=sha256(folder),
    )


def _record(entry: Entry, call: Call) -> None:
    """Record a run of the step, with the tags of a training that was taken."""
    manifest = load_manifest(call.out / FINAL_FOLDER)
    with tracked_step(
        entry.step,
        protocol=entry.protocol,
        method=entry.method,
        setting=entry.setting,
        seed=entry.seed,
        parameters=manifest.config.model_dump(mode="json"),
        tags={"data_hash": entry.data_hash, TAKEN_TAG: entry.key, TRAINED_IN_TAG: entry.mlflow_run},
        out=call.out,
    ):
        pass
