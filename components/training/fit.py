"""The resumable training of the train and the self-train step, with its checkpoints and loss curve.

Under torchrun every process runs the same step, but only the first one reports and writes.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.distributed.elastic.multiprocessing.errors import record
from torch.utils.data import DataLoader

from cascade_core.batches.samples import PackedBatch, TeacherLabels, pack
from cascade_core.batches.sampling import iteration_batches
from cascade_core.checkpoints.checkpoint import (
    CheckpointManifest,
    load_manifest,
    load_weights,
    save_checkpoint,
    write_checkpoint,
)
from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting
from cascade_core.errors import UserError
from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import (
    World,
    broadcast_from_first,
    broadcast_start,
    connected,
    device_of,
    world_of,
)
from cascade_core.runtime.cores import loading_workers
from cascade_core.train.loop import StepReport, train
from cascade_core.train.supervision import Supervision
from components.artifacts.manifest import data_hash
from components.contract import Call
from components.inputs.reading import Inputs
from components.progress import progress, rate_text
from components.results.names import FINAL_FOLDER, HISTORY_FILE, PSEUDO_LABELS_FOLDER
from components.servers.patience import PATIENCE_VARIABLE
from components.storage.lease import Lease, leased
from components.tracking.tracker import StepTracker
from components.training.history import History
from components.training.learner import Learner
from components.training.resume_checkpoints import add_checkpoint, newest_checkpoint, remove_checkpoints
from components.training.stop_signals import stop_requests, until_stopped
from components.training.training_pictures import training_pictures
from components.training.work_folder import unfinished_folder
from components.vectors.vector_files import check_templates

log = logging.getLogger(__name__)

BATCHES_AHEAD = 4
"""Batches that each loader worker prefetches."""


class Teaching(Protocol):
    """Pictures without label maps, and the teacher that labels them; the train step needs no code of teachers."""

    @property
    def request(self) -> dict[str, Any]:
        """What the labels depend on, as manifests record it."""

    @property
    def pictures_sha256(self) -> str:
        """The content hash of the folder of pictures."""

    def labelled(self, folder: Path, *, before_write: Callable[[], None]) -> TeacherLabels:
        """Write the label maps into `folder`; go on where an earlier call stopped."""


@dataclass(frozen=True)
class Fit:
    """The settings and inputs of one training; `teacher_labels` are the `unlabelled` pictures once the teacher labelled them."""

    config: RunConfig
    setting: TrainedSetting
    segmentor: Segmentor
    inputs: Inputs
    batch_size: int
    iterations: int
    provenance: dict[str, Any]
    snapshot_at: int | None = None
    unlabelled: Teaching | None = None
    teacher_labels: TeacherLabels | None = None


@record  # torchrun reports an exception here as the cause
def train_step(job: Fit, call: Call, *, resume: bool) -> None:
    """Train `job` as a call of its step, with all processes that torchrun started.

    They share the batch. Only the first one reads and writes the step's folder, tracks and shows progress. It holds the
    lease of that folder: a second training is refused on the command line; in a pipeline it waits.

    Raises:
        UserError: another training holds the lease or took it over, the text vectors are of other templates, the batch
            does not divide evenly, a process has no GPU, the checkpoint to resume from is of another configuration, or
            the loss is not finite.
    """
    world = world_of(os.environ)
    # Refuse an indivisible batch before anything is loaded.
    world.share(job.batch_size, job.config.train.accumulation_steps, field=f"{call.step.name}.batch_size")
    check_templates(call.inputs["text"], job.config.data.templates)
    with connected(world, device_of(world)):
        if not world.leads:
            with stop_requests() as stop:
                for _ in until_stopped(_reports(job, world, _learner(job, world)), stop):
                    pass
            return
        with (
            leased(call.out, wait=PATIENCE_VARIABLE in os.environ) as lease,
            call.writing(
                method=job.config.method,
                setting=job.setting,
                protocol=job.config.data.protocol,
                seed=job.config.seed,
                parameters=_parameters(job),
                tags={
                    "data_hash": data_hash(call.inputs["prepared"]),
                    "processes": world.size,
                    "threads": torch.get_num_threads(),
                },
                folder=partial(unfinished_folder, lease=lease, resume=resume, same=partial(_is_result, job)),
            ) as work,
        ):
            if job.unlabelled is not None:
                work.hashes["unlabelled"] = job.unlabelled.pictures_sha256
                job = _with_pseudo_labels(job, job.unlabelled, work.folder, lease)
            else:
                _refuse_pseudo_labels(work.folder)
            fit(job, work.folder, lease=lease, world=world, tracker=work.tracker, resume=resume)


def fit(job: Fit, out: Path, *, lease: Lease, world: World, tracker: StepTracker, resume: bool) -> None:
    """Train `job` and write `final/`, `history.csv` and, with `snapshot_at`, `half/` into `out`, while the lease holds.

    This regularly writes a resume checkpoint, and another one after a SIGTERM or SIGINT. With `resume` it continues
    from the newest whole one as if never interrupted, also with another number of processes; it refuses a checkpoint
    of another configuration.
    """
    learner = _learner(job, world)
    start, history = _resume(job, learner, out) if resume else (0, History(job.config.train.log_every))
    title = f"{job.config.method} {job.setting}"
    with stop_requests() as stop, progress(title, job.iterations, start=start) as bar:
        for report, last in until_stopped(_reports(job, world, learner, start=start), stop):
            if (row := history.add(report)) is not None:
                tracker.metrics(row, step=report.iteration)
            bar.advance(report.iteration, _status(report))
            if report.iteration == job.snapshot_at:
                lease.check()
                save_checkpoint(out / "half", job.segmentor, _manifest(job, report.iteration))
            due = last or report.iteration % job.config.train.checkpoint_every == 0
            if due and report.iteration < job.iterations:
                lease.check()
                history.write(out)
                add_checkpoint(out, partial(_write_resumable, job, report.iteration, learner, history))
        lease.check()
        history.write(out)
        save_checkpoint(out / FINAL_FOLDER, job.segmentor, _manifest(job, job.iterations))
    # Only now: until here an interrupted training resumes from them, from now on from the final checkpoint.
    remove_checkpoints(out)


def _parameters(job: Fit) -> dict[str, Any]:
    parameters = job.config.model_dump(mode="json")
    return parameters if job.unlabelled is None else {**parameters, "unlabelled": job.unlabelled.request}


def _with_pseudo_labels(job: Fit, teaching: Teaching, out: Path, lease: Lease) -> Fit:
    """Let the teacher label the pictures, and add them and the digest of their maps to the job."""
    teacher_labels = teaching.labelled(out / PSEUDO_LABELS_FOLDER, before_write=lease.check)
    record = {**teaching.request, "maps": teacher_labels.sha256}
    return replace(job, teacher_labels=teacher_labels, provenance={**job.provenance, "unlabelled": record})


def _refuse_pseudo_labels(out: Path) -> None:
    """Refuse to go on without a teacher in a folder where an interrupted run had one."""
    if (out / PSEUDO_LABELS_FOLDER).exists():
        raise UserError(
            f"{out / PSEUDO_LABELS_FOLDER} holds pseudo-labels of an interrupted run with --unlabelled; finish that "
            "run with its own settings, or start again with --no-resume"
        )


def _learner(job: Fit, world: World) -> Learner:
    return Learner.of(job.segmentor.to(device_of(world)), job.config, job.setting)


def _reports(job: Fit, world: World, learner: Learner, *, start: int = 0) -> Iterator[StepReport]:
    """Train on this process's share of every batch; the first process decides the start and the weights."""
    start = broadcast_start(learner.optimizer, start)
    broadcast_from_first(learner.averages.values())
    device = device_of(world)
    return train(
        job.segmentor,
        learner.optimizer,
        _loader(job, world, start=start, pinned=device.type == "cuda"),
        config=job.config,
        supervision=Supervision.of(job.config, job.setting, job.inputs.split),
        class_vectors=job.inputs.class_vectors,
        start=start,
        total=job.iterations,
        device=device,
        teacher=learner.teacher,
    )


def _resume(job: Fit, learner: Learner, out: Path) -> tuple[int, History]:
    """Load weights, moments and averages of an interrupted run, if any; return its finished steps and history."""
    log_every, final = job.config.train.log_every, out / FINAL_FOLDER
    # With a final checkpoint, only the swap is missing.
    checkpoint = final if final.exists() else newest_checkpoint(out)
    if checkpoint is None:
        return 0, History(log_every)
    start = _check_resumable(job, checkpoint)
    load_weights(job.segmentor, checkpoint)
    if start < job.iterations:
        learner.restore(checkpoint)
    log.info("resuming %s at step %d of %d", out, start, job.iterations)
    # A final checkpoint, and a resume checkpoint of an earlier version, has its history beside it.
    folder = checkpoint if (checkpoint / HISTORY_FILE).is_file() else out
    return start, History.read(folder, log_every=log_every, until=start)


def _write_resumable(job: Fit, iteration: int, learner: Learner, history: History, folder: Path) -> None:
    """Write everything that a training needs to go on after `iteration`."""
    write_checkpoint(folder, job.segmentor, _manifest(job, iteration), optimizer=learner.optimizer)
    learner.write_averages(folder)
    history.write(folder, pending=True)


def _status(report: StepReport) -> str:
    rate = max(report.learning_rates.values())
    return f"loss {report.loss:.3f} | lr {rate:.1e} | {rate_text(report.images_per_second)} img/s"


def _loader(job: Fit, world: World, *, start: int, pinned: bool) -> Iterable[PackedBatch]:
    accumulation = job.config.train.accumulation_steps
    dataset = training_pictures(job.inputs, job.config, job.setting, job.teacher_labels)
    sampler = iteration_batches(
        len(dataset),
        world.share(job.batch_size, accumulation),
        iterations=job.iterations * accumulation,
        seed=job.config.seed,
        start=start * accumulation,
        rank=world.rank,
        world_size=world.size,
    )
    workers = loading_workers(job.config.train.workers)
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


def _is_result(job: Fit, out: Path) -> bool:
    """Say whether `out` holds the finished training of `job`."""
    final = out / FINAL_FOLDER
    return final.is_dir() and load_manifest(final) == _manifest(job, job.iterations)


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
