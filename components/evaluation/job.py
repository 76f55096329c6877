"""An evaluation: check its inputs, count pixels by true and predicted class, draw pictures, write tables."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.batches.transforms import to_picture
from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.manifest import CheckpointManifest, load_manifest
from cascade_core.configs.config import DataConfig, EvalConfig
from cascade_core.configs.settings import (
    INFERENCE_SETTINGS,
    InferenceMap,
    PrecisionChoice,
    Synonyms,
    is_self_training,
)
from cascade_core.data.prepared import data_sha256, rows_of_split
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.evaluation import batch_size_of, scored_batches, share_of, target_split
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.precision import precision_on
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit, TargetSeen
from cascade_core.model.build import set_inference
from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import World
from cascade_core.predictor import device_named
from cascade_core.render.visualise import panel
from cascade_core.runtime.files import write_json
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.report import per_class_table, plot_confusion, plot_per_class
from cascade_core.scoring.scores import Scores
from components.evaluation.picture_log import Labels, Picture, PictureLog
from components.exported.graph_folder import Engine, engine_of
from components.inputs.reading import read_inputs
from components.inputs.split import read_split
from components.progress import Progress, progress
from components.results.evaluation import Control, Evaluation, number_or_none
from components.results.names import SCORES_FILE
from components.results.picture_files import kept_names
from components.vectors.vector_files import (
    read_background_vectors,
    read_class_vectors,
    read_name_vectors,
)

log = logging.getLogger(__name__)

NUM_PICTURES = 8
"""The number of pictures that an evaluation draws."""


@dataclass(frozen=True)
class Request:
    """The options of an evaluation; the evaluate step explains them."""

    split: str
    control: Control | None = None
    limit: int | None = None
    target: str | None = None
    background: Background | None = None
    target_seen: TargetSeen = "all"
    seen_penalty: float | None = None
    synonyms: Synonyms | None = None
    precision: PrecisionChoice | None = None
    picture_cosine: float | None = None
    patch_cosine: float | None = None
    inference_map: InferenceMap | None = None

    @property
    def model_changes(self) -> dict[str, Any]:
        """The settings of the model's inference that the options replace."""
        stated = {name: getattr(self, name) for name in INFERENCE_SETTINGS}
        return {name: value for name, value in stated.items() if value is not None}


@dataclass(frozen=True)
class EvaluationJob:
    """A checked evaluation: the model with its classes, the options, and the rows of the index to score.

    `engine` and `precision` say what computes the model's logits, as results record it.
    """

    manifest: CheckpointManifest
    vocabulary: Vocabulary
    inference: EvalConfig
    scored: ClassSplit
    rows: pd.DataFrame
    root: Path
    protocol: str
    setting: str
    engine: str
    precision: str


def evaluation_job(
    folders: Mapping[str, Path], request: Request, *, device: torch.device | None = None
) -> EvaluationJob:
    """Read the checkpoint and the earlier steps' folders, and check that they fit together.

    `device` is where the model computes; None: a GPU if there is one. With a folder `graph`, the graph in it computes the logits in the checkpoint's place, on the CPU.

    Raises:
        UserError: the checkpoint is missing; without a target, it is of another protocol; with `target_seen` by
            names, it shares no seen class with the target; the graph was exported from other weights, or cannot be run;
            the model's decoder adds no cosines, or has one map; the split is empty; or the background policy does not fit the label maps
            or the text vectors.
    """
    checkpoint, graph = folders["checkpoint"], folders.get("graph")
    if graph is None:
        segmentor, manifest = load_segmentor(checkpoint)
        if request.model_changes:
            set_inference(segmentor, request.model_changes)
        choice = request.precision or manifest.config.evaluate.precision
        precision = precision_on(device_named(device), choice)
        engine = Engine(segmentor, "torch", precision)
    else:
        if request.model_changes:
            stated = " and ".join(f"--{name.replace('_', '-')}" for name in request.model_changes)
            raise UserError(f"{stated} would change the checkpoint's model: leave out --graph, or them")
        manifest = load_manifest(checkpoint)
        precision = "fp32"  # of what torch computes; a graph has its own
        engine = engine_of(graph, checkpoint, manifest, request.precision or "fp32")
    config = manifest.config
    if request.target is None:
        protocol = protocol_of(manifest, folders["splits"])
    else:
        protocol = named_protocol(request.target).name
    inputs = read_inputs(
        prepared=folders["prepared"], splits=folders["splits"], text=folders["text"], protocol_name=protocol
    )
    policy = config.evaluate.background if request.background is None else request.background
    synonyms = request.synonyms or config.evaluate.synonyms
    own = manifest.config.self_train.extra_splits if request.target is None else ()
    if is_self_training(manifest.setting) and request.split in own:
        log.warning(
            "the self-training of %s took the pictures of %s, without their labels: its scores there are no measure of other pictures",
            checkpoint,
            request.split,
        )
    scored, candidates = scored_split(inputs.split, policy), inputs.split.foreground()
    if request.target is not None:
        candidates = target_split(candidates, manifest, seen=request.target_seen)
        scored = replace(scored, name=candidates.name, unseen_names=candidates.unseen_names)
    order = _unseen_rotated(candidates) if request.control == "words" else range(candidates.num_classes)
    rows = rows_of_split(inputs.index, request.split)
    return EvaluationJob(
        manifest=manifest,
        vocabulary=vocabulary_of(
            engine.segmentor,
            manifest,
            candidates,
            policy,
            order=order,
            text=folders["text"],
            device=device_named(device if graph is None else "cpu"),
            seen_penalty=request.seen_penalty,
            synonyms=synonyms,
        ),
        inference=config.evaluate.model_copy(
            update={
                "background": policy,
                "synonyms": synonyms,
                "precision": precision,
            }
        ),
        scored=scored,
        rows=rows.iloc[: request.limit],
        root=inputs.root,
        protocol=protocol,
        setting=f"control_{request.control}" if request.control else manifest.setting,
        engine=engine.name,
        precision=engine.precision,
    )


def protocol_of(manifest: CheckpointManifest, splits: Path) -> str:
    """Return the protocol to score a checkpoint on: that of its training, or of the splits where there was none."""
    if manifest.setting == "training_free":
        return read_split(splits).name
    return manifest.config.data.protocol


def vocabulary_of(
    segmentor: Segmentor,
    manifest: CheckpointManifest,
    candidates: ClassSplit,
    policy: Background,
    *,
    text: Path,
    device: torch.device,
    order: Sequence[int] | None = None,
    seen_penalty: float | None = None,
    synonyms: Synonyms | None = None,
) -> Vocabulary:
    """Bind a checkpoint to its candidate classes, followed by the policy's names for background.

    The folder `text` has the vectors of both; in `order`, if there is one, the classes get them. A `seen_penalty` and
    a rule of `synonyms` replace the checkpoint's own.

    Raises:
        UserError: the folder lacks the vectors of these names, or of the synonyms, which "maximum" asks for.
    """
    apart = (synonyms or manifest.config.evaluate.synonyms) == "maximum"
    form = manifest.config.model.text
    groups = (
        read_name_vectors(text, candidates, form=form)
        if apart
        else read_class_vectors(text, candidates, form=form).split(1)
    )
    groups = [groups[place] for place in order or range(len(groups))]
    background = [read_background_vectors(text, policy.names, form=form)] if policy.names else []
    return Vocabulary(
        segmentor.to(device),
        torch.cat([*groups, *background]).to(device),
        score_function=manifest.config.loss.score_function,
        seen=candidates.seen,
        seen_penalty=manifest.seen_penalty(manifest.config.evaluate)
        if seen_penalty is None
        else seen_penalty,
        background_names=len(policy.names),
        query_classes=[i for i, group in enumerate(groups) for _ in group] if apart else None,
    )


def count(job: EvaluationJob, folder: Path, *, split: str, world: World) -> ConfusionMatrix:
    """Count pixels by true and predicted class; write the counts and scores of single pictures and part of the predictions.

    `folder` gets `picture_counts.parquet`, `pictures.json`, `predictions.zip`, and the first predictions as panels below `pictures`. Each of several
    connected processes takes its share of the batches; all return the counts of all, and the first one's folder gets the
    pictures of all.
    """
    config, done = job.manifest.config, 0
    names = job.rows["name"].astype(str).tolist()
    rows, panels = share_of(job.rows, config, world), set(names[:NUM_PICTURES])
    confusion = ConfusionMatrix(job.scored.num_classes, device=job.vocabulary.device)
    batches = scored_batches(
        rows, job.root, config=config, split=job.scored, batch_size=batch_size_of(job.rows, config)
    )
    log = PictureLog(folder, job.scored, keep=set(kept_names(names)))
    text = f"evaluate {config.method} {job.setting}"
    with log, progress(text, len(rows)) if world.leads else nullcontext(Progress(text, None)) as bar:
        for batch, predicted in predictions(job.vocabulary, batches, evaluate=job.inference):
            confusion.update(predicted, batch.labels)
            for name, picture, labels, ids in _arrays(batch, predicted, config.data):
                log.add(name, picture, labels, ids)
                if name in panels and ids.min(initial=0) >= 0:  # reading the counts reports NaN
                    _draw(
                        name, picture, {"truth": labels, "prediction": ids}, job.scored, folder / "pictures"
                    )
            done += len(batch.names)
            bar.advance(done)
    confusion.sum_over_processes()
    log.gather(world, order=names)
    if world.leads:
        log.write(split=split, background=str(job.inference.background))
    return confusion


def evaluation_of(job: EvaluationJob, summary: Scores, *, split: str, data: str) -> Evaluation:
    """Return the row of `scores.json`; `data` is the hash of the data set."""
    config = job.manifest.config
    return Evaluation(
        method=config.method,
        setting=job.setting,
        split=split,
        protocol=summary.protocol,
        seed=config.seed,
        pAcc=number_or_none(summary.pAcc),
        miou_seen=number_or_none(summary.miou_seen),
        miou_unseen=number_or_none(summary.miou_unseen),
        hiou=number_or_none(summary.hiou),
        seen_penalty=job.vocabulary.penalty,
        background=str(job.inference.background),
        num_pictures=len(job.rows),
        data_hash=data,
        pictures_hash=data_sha256(job.rows),
        engine=job.engine,
        precision=job.precision,
    )


def _unseen_rotated(split: ClassSplit) -> list[int]:
    """Return, for each class, the class whose words it gets: each unseen class those of the next (control `words`).

    Raises:
        UserError: there are fewer than two unseen classes.
    """
    unseen = list(split.unseen)
    if len(unseen) < 2:
        raise UserError(
            f"control 'words' needs two unseen classes to exchange; {split.name!r} has {len(unseen)}"
        )
    following = dict(zip(unseen, unseen[1:] + unseen[:1], strict=True))
    return [following.get(i, i) for i in range(split.num_classes)]


def _arrays(
    batch: Batch, predicted: Tensor, data: DataConfig
) -> Iterator[tuple[str, Picture, Labels, Labels]]:
    """Yield name, 8-bit picture, true and predicted ids of each picture of a batch, at the size of its labels."""
    truths, ids = batch.labels.int().cpu().numpy(), predicted.int().cpu().numpy()
    images = batch.images.cpu()
    for name, image, labels, own in zip(batch.names, images, truths, ids, strict=True):
        picture = to_picture(image, mean=data.mean, std=data.std)
        if picture.shape[:2] != labels.shape:
            picture = np.asarray(Image.fromarray(picture).resize((labels.shape[1], labels.shape[0])))
        yield name, picture, labels, own


def _draw(name: str, picture: Picture, maps: Mapping[str, Labels], split: ClassSplit, folder: Path) -> None:
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)  # names from lists may contain folders
    panel(picture, maps, split.classes, colours=split.label_set.colours).save(path)


def write_tables(
    folder: Path, result: Evaluation, summary: Scores, confusion: ConfusionMatrix, split: ClassSplit
) -> None:
    """Write `scores.json`, the per-class table, the confusion matrix, and plots of both."""
    write_json(folder / SCORES_FILE, asdict(result))
    table = per_class_table(summary, split, confusion)
    table.to_csv(folder / "per_class.csv", index=False)
    classes = list(split.classes)
    counts = pd.DataFrame(confusion.counts.numpy(), index=classes, columns=classes)
    counts.to_csv(folder / "confusion.csv", index_label="truth")
    title = f"{result.method}, {result.setting}, {result.split} ({result.protocol})"
    plot_confusion(confusion, split, folder / "confusion.png", title=title)
    plot_per_class(table, folder / "per_class.png", title=title)
