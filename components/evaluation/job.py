"""The job of an evaluation: read and checked before the first picture, counted, drawn and written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.configs.config import DataConfig, EvalConfig
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.evaluation import carried_over, scored_batches
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit, TargetSeen
from cascade_core.predictor import device_named
from cascade_core.render.visualise import panel, to_picture
from cascade_core.runtime.files import write_json
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.report import per_class_table, plot_confusion, plot_per_class
from cascade_core.scoring.scores import Scores
from components.inputs.reading import read_inputs, rows_of
from components.progress import progress
from components.results.evaluation import Control, Evaluation
from components.results.names import SCORES_FILE
from components.vectors.background_vectors import read_background_vectors

NUM_PICTURES = 8


@dataclass(frozen=True)
class Request:
    """The choices of an evaluation, beside its folders."""

    split: str
    control: Control | None
    limit: int | None
    target: str | None
    background: Background | None
    target_seen: TargetSeen


@dataclass(frozen=True)
class EvaluationJob:
    """What is evaluated, how, and on which rows of the index; all of it read and checked before the first picture."""

    manifest: CheckpointManifest
    vocabulary: Vocabulary
    inference: EvalConfig
    scored: ClassSplit
    rows: pd.DataFrame
    root: Path
    protocol: str
    setting: str


def evaluation_job(folders: Mapping[str, Path], given: Request) -> EvaluationJob:
    """Read the checkpoint and the folders of the earlier steps, and check that they fit together.

    Raises:
        UserError: the checkpoint is missing, of another protocol where no target is named, or shares no seen
            class name with the target where names decide; the split is empty; or the background policy does
            not go with the label maps or the text vectors.
    """
    segmentor, manifest = load_segmentor(folders["checkpoint"])
    config = manifest.config
    protocol = config.data.protocol if given.target is None else named_protocol(given.target).name
    inputs = read_inputs(
        prepared=folders["prepared"], splits=folders["splits"], text=folders["text"], protocol_name=protocol
    )
    chosen = config.evaluate.background if given.background is None else given.background
    scored, asked = scored_split(inputs.split, chosen), inputs.split.foreground()
    if given.target is not None:
        asked = carried_over(asked, manifest, seen=given.target_seen)
        scored = replace(scored, name=asked.name, unseen_names=asked.unseen_names)
    vectors = inputs.class_vectors if given.control != "words" else _shifted(inputs.class_vectors, asked)
    if chosen.names:
        vectors = torch.cat([vectors, read_background_vectors(folders["text"], chosen.names)])
    rows, device = rows_of(inputs, given.split), device_named(None)
    return EvaluationJob(
        manifest=manifest,
        vocabulary=Vocabulary(
            segmentor.to(device),
            vectors.to(device),
            kind=config.loss.kind,
            seen=asked.seen,
            seen_penalty=manifest.seen_penalty(config.evaluate),
            background_names=len(chosen.names),
        ),
        inference=config.evaluate.model_copy(update={"background": chosen}),
        scored=scored,
        rows=rows.iloc[: given.limit],
        root=inputs.root,
        protocol=protocol,
        setting=f"control_{given.control}" if given.control else manifest.setting,
    )


def count(job: EvaluationJob, pictures: Path) -> ConfusionMatrix:
    """Count predicted against true classes, and draw the first predictions into the folder `pictures`."""
    config, done = job.manifest.config, 0
    pictures.mkdir()
    confusion = ConfusionMatrix(job.scored.num_classes, device=job.vocabulary.device)
    batches = scored_batches(job.rows, job.root, config=config, scored=job.scored)
    with progress(f"evaluate {config.method} {job.setting}", len(job.rows)) as bar:
        for batch, predicted in predictions(job.vocabulary, batches, evaluate=job.inference):
            confusion.update(predicted, batch.labels)
            _draw(batch, predicted, config.data, job.scored, pictures, at_most=NUM_PICTURES - done)
            done += len(batch.names)
            bar.advance(done)
    return confusion


def evaluation_of(job: EvaluationJob, summary: Scores, *, split: str, data: str) -> Evaluation:
    """Return the row of results."""
    config = job.manifest.config
    return Evaluation(
        method=config.method,
        setting=job.setting,
        split=split,
        protocol=summary.protocol,
        seed=config.seed,
        pAcc=_number(summary.pAcc),
        miou_seen=_number(summary.miou_seen),
        miou_unseen=_number(summary.miou_unseen),
        hiou=_number(summary.hiou),
        seen_penalty=job.vocabulary.penalty,
        background=str(job.inference.background),
        num_pictures=len(job.rows),
        data_hash=data,
    )


def _shifted(
    class_vectors: Float[Tensor, "classes embed"], split: ClassSplit
) -> Float[Tensor, "classes embed"]:
    """Exchange the unseen classes' vectors among themselves.

    Raises:
        UserError: there are fewer than two.
    """
    unseen = list(split.unseen)
    if len(unseen) < 2:
        raise UserError(
            f"control 'words' needs two unseen classes to exchange; {split.name!r} has {len(unseen)}"
        )
    vectors = class_vectors.clone()
    vectors[unseen] = class_vectors[unseen[1:] + unseen[:1]]
    return vectors


def _draw(
    batch: Batch, predicted: Tensor, data: DataConfig, split: ClassSplit, folder: Path, *, at_most: int
) -> None:
    for index in range(min(at_most, len(batch.names))):
        labels = batch.labels[index].cpu().numpy()
        picture = to_picture(batch.images[index].cpu(), mean=data.mean, std=data.std)
        if picture.shape[:2] != labels.shape:
            picture = np.asarray(Image.fromarray(picture).resize((labels.shape[1], labels.shape[0])))
        maps = {"truth": labels, "prediction": predicted[index].cpu().numpy()}
        drawn = panel(picture, maps, split.classes, chosen=split.label_set.colours)
        place = folder / f"{batch.names[index]}.png"
        place.parent.mkdir(parents=True, exist_ok=True)  # names from lists may hold folders
        drawn.save(place)


def write_tables(
    folder: Path, result: Evaluation, summary: Scores, confusion: ConfusionMatrix, split: ClassSplit
) -> None:
    """Write `scores.json`, the tables per class and of confusion, and a plot of each."""
    write_json(folder / SCORES_FILE, asdict(result))
    table = per_class_table(summary, split, confusion)
    table.to_csv(folder / "per_class.csv", index=False)
    pd.DataFrame(confusion.counts.numpy(), index=list(split.classes), columns=list(split.classes)).to_csv(
        folder / "confusion.csv", index_label="truth"
    )
    title = f"{result.method}, {result.setting}, {result.split} ({result.protocol})"
    plot_confusion(confusion, split, folder / "confusion.png", title=title)
    plot_per_class(table, folder / "per_class.png", title=title)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
