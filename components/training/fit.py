"""The resumable training of the train and the self-train step, with its checkpoints and loss curve.

Under torchrun every process runs the same step, but only the first one reports and writes.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.distributed.elastic.multiprocessing.errors import record
from torch.optim import AdamW
from torch.utils.data import DataLoader

from cascade_core.batches.samples import PackedBatch, pack, train_dataset
from cascade_core.batches.sampling import iteration_batches
from cascade_core.checkpoints.checkpoint import (
    CheckpointManifest,
    load_manifest,
    load_optimizer,
    load_weights,
    save_checkpoint,
)
from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import Setting
from cascade_core.data.prepared import rows_of_split
from cascade_core.errors import UserError
from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import World, device_of, joined, share_start, world_of
from cascade_core.runtime.files import new_file, put_back, put_in_place
from cascade_core.train.loop import StepReport, averaged, train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision
from components.artifacts import data_hash
from components.contract import Call
from components.inputs.reading import Inputs
from components.progress import progress
from components.results.names import HISTORY_FILE
from components.tables import read_table
from components.tracking.tracker import StepTracker
from components.vectors.vector_files import check_templates

log = logging.getLogger(__name__)

FINAL_FOLDER, RESUME_FOLDER = "final", "resume"
BATCHES_AHEAD = 4
"""Batches that each loader worker prefetches."""


@contextmanager
def unfinished_folder(out: Path, *, resume: bool) -> Iterator[Path]:
    """Yield a folder beside `out` that replaces it when the block succeeds.

    If the block raises or the process is killed, the folder stays for the next call to resume from, and an earlier
    `out` is unchanged. Without `resume` this starts with an empty folder.
    """
    put_back(out)
    working = out.with_name(f".{out.name}.unfinished")
    if working.exists() and not (resume and _checkpoints(working)):
        shutil.rmtree(working)
    working.mkdir(parents=True, exist_ok=True)
    yield working
    put_in_place(working, out)


def _checkpoints(working: Path) -> list[Path]:
    """List the checkpoints to resume from, the final one first: if it exists, only the swap is missing."""
    return [folder for name in (FINAL_FOLDER, RESUME_FOLDER) if (folder := working / name).exists()]


@dataclass(frozen=True)
class Fit:
    """The settings and inputs of one training."""

    config: RunConfig
    setting: Setting
    segmentor: Segmentor
    inputs: Inputs
    batch_size: int
    iterations: int
    provenance: dict[str, Any]
    snapshot_at: int | None = None


@record  # torchrun reports an exception here as the cause
def train_step(job: Fit, call: Call, *, resume: bool) -> None:
    """Train `job` as a call of its step, with all processes that torchrun started.

    They share the batch. Only the first one reads and writes the step's folder, tracks and shows progress.

    Raises:
        UserError: the text vectors are of other templates, the batch does not divide evenly, a process has no GPU,
            or the checkpoint to resume from is of another configuration.
        FloatingPointError: the loss is not finite.
    """
    world = world_of(os.environ)
    # Refuse an indivisible batch before anything is loaded.
    world.share(job.batch_size, job.config.train.accumulation_steps, field=f"{call.step.name}.batch_size")
    check_templates(call.inputs["text"], job.config.data.templates)
    with joined(world, device_of(world)):
        if not world.leads:
            for _ in _reports(job, world, _optimizer(job, world)):
                pass
            return
        with call.writing(
            method=job.config.method,
            setting=job.setting,
            protocol=job.config.data.protocol,
            seed=job.config.seed,
            parameters=job.config.model_dump(mode="json"),
            tags={"data_hash": data_hash(call.inputs["prepared"]), "processes": world.size},
            folder=partial(unfinished_folder, resume=resume),
        ) as work:
            fit(job, work.folder, world=world, tracker=work.tracker, resume=resume)


def fit(job: Fit, out: Path, *, world: World, tracker: StepTracker, resume: bool) -> None:
    """Train `job` and write `final/`, `history.csv` and, with `snapshot_at`, `half/` into `out`.

    This regularly writes a resumable checkpoint to `out/resume`. With `resume` it continues from there as if never
    interrupted, also with another number of processes; it refuses a checkpoint of another configuration.
    """
    optimizer = _optimizer(job, world)
    start, history = _resume(job, optimizer, out) if resume else (0, [])
    reports = _reports(job, world, optimizer, start=start)
    with progress(f"{job.config.method} {job.setting}", job.iterations, start=start) as bar:
        for report in _track(reports, job, history, tracker):
            bar.advance(report.iteration, _status(report))
            if report.iteration == job.snapshot_at:
                save_checkpoint(out / "half", job.segmentor, _manifest(job, report.iteration))
            due = report.iteration % job.config.train.checkpoint_every == 0
            if due and report.iteration < job.iterations:
                _write_history(history, out)
                save_checkpoint(
                    out / RESUME_FOLDER, job.segmentor, _manifest(job, report.iteration), optimizer=optimizer
                )
    _write_history(history, out)
    save_checkpoint(out / FINAL_FOLDER, job.segmentor, _manifest(job, job.iterations))
    # Only now: until here an interrupted training resumes from it, from now on from the final checkpoint.
    shutil.rmtree(out / RESUME_FOLDER, ignore_errors=True)


def _optimizer(job: Fit, world: World) -> AdamW:
    return build_optimizer(job.segmentor.to(device_of(world)), job.config.optim)


def _reports(job: Fit, world: World, optimizer: AdamW, *, start: int = 0) -> Iterator[StepReport]:
    """Train on this process's share of every batch; the first process decides the start and the weights."""
    start = share_start(optimizer, start)
    device = device_of(world)
    return train(
        job.segmentor,
        optimizer,
        _loader(job, world, start=start, pinned=device.type == "cuda"),
        config=job.config,
        supervision=Supervision(job.setting, job.inputs.split, job.config.self_train.strict_seen_penalty),
        class_vectors=job.inputs.class_vectors,
        start=start,
        total=job.iterations,
        device=device,
    )


def _resume(job: Fit, optimizer: AdamW, out: Path) -> tuple[int, list[dict[str, float]]]:
    """Load weights and moments of an interrupted run, if any; return its finished steps and history."""
    checkpoints = _checkpoints(out)
    if not checkpoints:
        return 0, []
    folder = checkpoints[0]
    start = _check_resumable(job, folder)
    load_weights(job.segmentor, folder)
    if start < job.iterations:
        load_optimizer(optimizer, folder)
    history = read_table(out / HISTORY_FILE, step="a training step").query("iteration <= @start")
    log.info("resuming %s at step %d of %d", out, start, job.iterations)
    return start, [{str(name): value for name, value in row.items()} for row in history.to_dict("records")]


def _track(
    reports: Iterator[StepReport], job: Fit, history: list[dict[str, float]], tracker: StepTracker
) -> Iterator[StepReport]:
    """Yield the reports; average every `log_every` of them into a row of the history and of tracked metrics."""
    window: list[StepReport] = []
    for report in reports:
        window.append(report)
        if len(window) == job.config.train.log_every or report.iteration == job.iterations:
            row = averaged(window)
            history.append({"iteration": report.iteration, **row})
            tracker.metrics(row, step=report.iteration)
            window = []
        yield report


def _status(report: StepReport) -> str:
    rate = max(report.learning_rates.values())
    return f"loss {report.loss:.3f} | lr {rate:.1e} | {report.images_per_second:.0f} img/s"


def _loader(job: Fit, world: World, *, start: int, pinned: bool) -> Iterable[PackedBatch]:
    accumulation = job.config.train.accumulation_steps
    dataset = train_dataset(
        rows_of_split(job.inputs.index, "train"), job.inputs.root, data=job.config.data, seed=job.config.seed
    )
    sampler = iteration_batches(
        len(dataset),
        world.share(job.batch_size, accumulation),
        iterations=job.iterations * accumulation,
        seed=job.config.seed,
        start=start * accumulation,
        rank=world.rank,
        world_size=world.size,
    )
    workers = job.config.train.workers
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=partial(pack, mean=job.config.data.mean, std=job.config.data.std),
        pin_memory=pinned,
        persistent_workers=workers > 0,
        # Decoding times vary; the default of two prefetched batches does not even them out.
        prefetch_factor=BATCHES_AHEAD if workers else None,
        # Its own generator: the loader must not use the random stream of dropout.
        generator=torch.Generator().manual_seed(job.config.seed),
    )


def _manifest(job: Fit, iteration: int) -> CheckpointManifest:
    split = job.inputs.split
    return CheckpointManifest(
        config=job.config,
        setting=job.setting,
        iteration=iteration,
        total_iterations=job.iterations,
        classes=split.classes,
        unseen=tuple(split.unseen_names),
        provenance=job.provenance,
    )


def _check_resumable(job: Fit, folder: Path) -> int:
    manifest = load_manifest(folder)
    expected = _manifest(job, manifest.iteration)
    if manifest != expected:
        theirs, ours = (json.loads(content.model_dump_json()) for content in (manifest, expected))
        differing = ", ".join(sorted(key for key in ours if ours[key] != theirs[key]))
        raise UserError(
            f"{folder} is the checkpoint of a run that differs in {differing}; finish that run with its own "
            "settings, or start again with --no-resume"
        )
    return manifest.iteration


def _write_history(history: list[dict[str, float]], out: Path) -> None:
    with new_file(out / HISTORY_FILE) as path:
        pd.DataFrame(history).to_csv(path, index=False)
