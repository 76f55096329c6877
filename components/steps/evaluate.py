"""Step: score a checkpoint on one split, with per-class table, confusion matrix and pictures."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from cascade_core.batches.ahead import batches
from cascade_core.batches.datasets import Batch, eval_dataset
from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.configs.config import DataConfig
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit
from cascade_core.render.visualise import panel, to_picture
from cascade_core.runtime.files import new_folder, write_json
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.report import per_class_table, plot_confusion, plot_per_class
from cascade_core.scoring.scores import Scores, scores
from components.artifacts import data_hash, write_manifest
from components.progress import progress
from components.results.names import SCORES_FILE
from components.tracking.tracker import tracked_step
from components.training.fit import Inputs, read_inputs, rows_of
from components.vectors.background_vectors import read_background_vectors

NUM_PICTURES = 8

Control = Literal["words", "random_tower"]
TargetSeen = Literal["all", "names"]


@dataclass(frozen=True)
class Evaluation:
    """One row of results: what was evaluated, how, and its scores as fractions (None: nothing to average).

    Unless `background` is "dropped", background is a class like any other, which counts as seen.
    """

    method: str
    setting: str
    split: str
    protocol: str
    seed: int
    pAcc: float | None
    miou_seen: float | None
    miou_unseen: float | None
    hiou: float | None
    seen_penalty: float
    background: str
    num_pictures: int
    data_hash: str

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are defined, by name."""
        named = {name: getattr(self, name) for name in ("pAcc", "miou_seen", "miou_unseen", "hiou")}
        return {name: value for name, value in named.items() if value is not None}


def run(
    *,
    prepared: Path,
    splits: Path,
    text: Path,
    checkpoint: Path,
    split: str,
    out: Path,
    control: Control | None = None,
    limit: int | None = None,
    target: str | None = None,
    background: Background | None = None,
    target_seen: TargetSeen = "all",
) -> Evaluation:
    """Evaluate a checkpoint folder on the pictures of `split` and write scores, tables and pictures to `out`.

    Inductive models have the configured penalty taken off their seen scores; transductive and supervised
    ones, as published, none. `control='words'` shifts the unseen classes' text vectors by one among
    themselves, which must ruin the unseen scores of a model that reads them; 'random_tower' only names the
    setting of a checkpoint trained on a random image tower. `limit` keeps the first so many pictures.

    `target` names the protocol of another data set, to which the checkpoint is carried over: all its classes
    compete. As published they all count as seen, so that the penalty changes nothing and the score is one mIoU;
    with `target_seen='names'` only those do, penalty included, whose names the checkpoint saw.

    `background` says which pixels are background, in place of the checkpoint's own setting; unless it is
    dropped, background is scored as one more class, which counts as seen.

    Raises:
        UserError: the checkpoint is missing, of another protocol where no target is named, or shares no seen
            class name with the target where names decide; the split is empty; or the background policy does
            not go with the label maps or the text vectors.
    """
    segmentor, manifest = load_segmentor(checkpoint)
    config = manifest.config
    protocol = config.data.protocol if target is None else named_protocol(target).name
    inputs = read_inputs(prepared=prepared, splits=splits, text=text, protocol_name=protocol)
    chosen = config.evaluate.background if background is None else background
    scored = scored_split(inputs.split, chosen)
    inputs = replace(inputs, split=inputs.split.foreground())
    if target is not None:
        inputs = replace(inputs, split=carried_over(inputs.split, manifest, seen=target_seen))
        scored = replace(scored, name=inputs.split.name, unseen_names=inputs.split.unseen_names)
    inference = config.evaluate.model_copy(update={"background": chosen})
    rows = rows_of(inputs, split).head(limit) if limit else rows_of(inputs, split)
    vectors = _shifted(inputs) if control == "words" else inputs.class_vectors
    if chosen.names:
        vectors = torch.cat([vectors, read_background_vectors(text, chosen.names)])
    penalty = config.evaluate.seen_penalty if manifest.setting == "inductive" else 0.0
    setting = f"control_{control}" if control else manifest.setting
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vocabulary = Vocabulary(
        segmentor.to(device),
        vectors.to(device),
        kind=config.loss.kind,
        seen=inputs.split.seen,
        seen_penalty=penalty,
    )
    with (
        tracked_step(
            "evaluate",
            method=config.method,
            setting=setting,
            protocol=protocol,
            seed=config.seed,
            parameters={
                "split": split,
                "seen_penalty": penalty,
                "background": str(chosen),
                "checkpoint_iteration": manifest.iteration,
            },
            tags={"data_hash": data_hash(prepared), "split": split},
            out=out,
        ) as tracker,
        new_folder(out) as folder,
    ):
        confusion = ConfusionMatrix(scored.num_classes, device=device)
        loader = _loader(rows, inputs.root, scored, manifest)
        (folder / "pictures").mkdir()
        shown = 0
        with progress(f"evaluate {config.method} {setting}", len(rows)) as bar:
            done = 0
            for batch, predicted in predictions(vocabulary, loader, evaluate=inference):
                confusion.update(predicted, batch.labels)
                shown += _draw(
                    batch,
                    predicted,
                    config.data,
                    scored,
                    folder / "pictures",
                    at_most=NUM_PICTURES - shown,
                )
                done += len(batch.names)
                bar.advance(done)
        found = scores(confusion, scored)
        result = Evaluation(
            method=config.method,
            setting=setting,
            split=split,
            protocol=found.protocol,
            seed=config.seed,
            pAcc=_number(found.pAcc),
            miou_seen=_number(found.miou_seen),
            miou_unseen=_number(found.miou_unseen),
            hiou=_number(found.hiou),
            seen_penalty=penalty,
            background=str(chosen),
            num_pictures=len(rows),
            data_hash=data_hash(prepared),
        )
        _write_tables(folder, result, found, confusion, scored)
        write_manifest(
            folder,
            step="evaluate",
            inputs={"prepared": prepared, "splits": splits, "text": text, "checkpoint": checkpoint},
            parameters={
                "split": split,
                "control": control,
                "limit": limit,
                "target": None if target is None else protocol,
                "target_seen": target_seen,
                "background": str(chosen),
            },
        )
        tracker.metrics({name: value for name, value in found.summary().items() if not np.isnan(value)})
        tracker.files(*sorted(path.name for path in folder.iterdir()))
    return result


def carried_over(target: ClassSplit, manifest: CheckpointManifest, *, seen: TargetSeen) -> ClassSplit:
    """Give the split of a target data set as a checkpoint of another one is scored on it.

    "all": every class is seen, as published. "names": those whose names the checkpoint saw, as they stand:
    "tvmonitor" is not "tv", and then counts as unseen.

    Raises:
        UserError: by names no class of the target was seen, so that there is nothing to tell apart.
    """
    name = f"{target.name} from {manifest.config.data.protocol}"
    if seen == "all":
        return replace(target, name=name, unseen_names=())
    known = set(manifest.classes) - set(manifest.unseen)
    unseen = tuple(one for one in target.classes if one not in known)
    if len(unseen) == target.num_classes:
        raise UserError(
            f"target {target.name!r} shares no class name with the {len(known)} seen classes of the checkpoint "
            f"({manifest.config.data.protocol!r}); count all its classes as seen, give a target that has some, or "
            "a checkpoint of such a protocol"
        )
    return replace(target, name=name, unseen_names=unseen)


def _shifted(inputs: Inputs) -> Float[Tensor, "classes embed"]:
    unseen = list(inputs.split.unseen)
    if len(unseen) < 2:
        raise UserError(
            f"control 'words' needs two unseen classes to exchange; {inputs.split.name!r} has {len(unseen)}"
        )
    vectors = inputs.class_vectors.clone()
    vectors[unseen] = inputs.class_vectors[unseen[1:] + unseen[:1]]
    return vectors


def _loader(
    rows: pd.DataFrame, root: Path, scored: ClassSplit, manifest: CheckpointManifest
) -> Iterable[Batch]:
    config = manifest.config
    dataset = eval_dataset(
        rows, root, data=config.data, label_set=scored.label_set, short_side=config.evaluate.short_side
    )
    same_size = rows[["height", "width"]].drop_duplicates().shape[0] == 1
    return batches(
        dataset,
        batch_size=config.evaluate.batch_size if same_size else 1,
        workers=config.train.workers,
    )


def _draw(
    batch: Batch, predicted: Tensor, data: DataConfig, split: ClassSplit, folder: Path, *, at_most: int
) -> int:
    count = min(at_most, len(batch.names))
    for index in range(count):
        labels = batch.labels[index].cpu().numpy()
        picture = to_picture(batch.images[index].cpu(), mean=data.mean, std=data.std)
        if picture.shape[:2] != labels.shape:
            picture = np.asarray(Image.fromarray(picture).resize((labels.shape[1], labels.shape[0])))
        maps = {"truth": labels, "prediction": predicted[index].cpu().numpy()}
        drawn = panel(picture, maps, split.classes, chosen=split.label_set.colours)
        place = folder / f"{batch.names[index]}.png"
        place.parent.mkdir(parents=True, exist_ok=True)  # names from lists may hold folders
        drawn.save(place)
    return count


def _write_tables(
    folder: Path, result: Evaluation, found: Scores, confusion: ConfusionMatrix, split: ClassSplit
) -> None:
    write_json(folder / SCORES_FILE, asdict(result))
    table = per_class_table(found, split, confusion)
    table.to_csv(folder / "per_class.csv", index=False)
    pd.DataFrame(confusion.counts.numpy(), index=list(split.classes), columns=list(split.classes)).to_csv(
        folder / "confusion.csv", index_label="truth"
    )
    title = f"{result.method}, {result.setting}, {result.split} ({result.protocol})"
    plot_confusion(confusion, split, folder / "confusion.png", title=title)
    plot_per_class(table, folder / "per_class.png", title=title)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
