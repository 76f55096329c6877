"""What an evaluation records of single pictures: every picture's counts and scores, and a part of the predictions."""

import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch.distributed as dist
from jaxtyping import Integer, UInt8
from PIL import Image

from cascade_core.labels.class_split import ClassSplit
from cascade_core.parallel import World, is_distributed
from cascade_core.runtime.files import write_json
from cascade_core.scoring.pictures import PictureCounts, largest_mistake, picture_counts, scores_of_counts
from components.results.picture_counts import write_counts
from components.results.picture_files import (
    LONGEST_SIDE,
    PICTURES_FILE,
    PREDICTIONS_FILE,
    KeptPicture,
    PictureRow,
    PicturesOfEvaluation,
    WorstPair,
    member_names,
    write_kept,
)

Labels = Integer[np.ndarray, "height width"]
Picture = UInt8[np.ndarray, "height width 3"]


@dataclass
class PictureLog:
    """Collects the counts and scores of pictures, and writes the predictions of those named in `keep` into an archive.

    It is a context manager: the archive is complete after the block.
    """

    folder: Path
    scored: ClassSplit
    keep: Collection[str]
    rows: list[PictureRow] = field(default_factory=list)
    counts: dict[str, PictureCounts] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._archive = zipfile.ZipFile(self.folder / PREDICTIONS_FILE, "w")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def add(self, name: str, picture: Picture, truth: Labels, predicted: Labels) -> None:
        """Score a picture, and keep it if it is to be kept; the three arrays are of one size.

        A prediction with NaN scores is left out; reading the evaluation's counts raises an error for it.
        """
        if predicted.min(initial=0) < 0:
            return
        counts = self.counts[name] = picture_counts(truth, predicted)
        scores = scores_of_counts(counts, self.scored.unseen)
        mistake, classes = largest_mistake(truth, predicted), self.scored.classes
        pair = (
            None
            if mistake is None
            else WorstPair(
                truth=classes[mistake.truth],
                predicted=classes[mistake.predicted],
                share=mistake.share,
                share_of_class=mistake.share_of_class,
            )
        )
        kept = name in self.keep
        self.rows.append(PictureRow(name=name, **vars(scores), mistake=pair, kept=kept))
        if kept:
            write_kept(self._archive, name, _reduced(picture, truth, predicted))

    def gather(self, world: World, *, order: Sequence[str]) -> None:
        """Bring what all connected processes recorded into the first one's log and folder, in the `order` of names.

        Call it after the block, in every process.
        """
        if not is_distributed():
            return
        with zipfile.ZipFile(self.folder / PREDICTIONS_FILE) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
        panels = {path.relative_to(self.folder): path.read_bytes() for path in self.folder.rglob("*.png")}
        shares: list[Any] = [None] * world.size
        dist.gather_object((self.rows, self.counts, members, panels), shares if world.leads else None)
        if not world.leads:
            return
        place = {name: number for number, name in enumerate(order)}
        self.rows = sorted((row for rows, *_ in shares for row in rows), key=lambda row: place[row.name])
        counts = {name: own for _, share, *_ in shares for name, own in share.items()}
        self.counts = {row.name: counts[row.name] for row in self.rows}
        by_file = {info.filename: (info, content) for *_, share, _ in shares for info, content in share}
        with zipfile.ZipFile(self.folder / PREDICTIONS_FILE, "w") as archive:
            for row in self.rows:
                for name in member_names(row.name) if row.kept else ():
                    archive.writestr(*by_file[name])
        for *_, pictures in shares:
            for path, content in pictures.items():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path).write_bytes(content)

    def write(self, *, split: str, background: str) -> None:
        """Write `pictures.json` and `picture_counts.parquet`."""
        write_counts(self.folder, self.counts, self.scored)
        content = PicturesOfEvaluation(
            protocol=self.scored.name,
            split=split,
            background=background,
            classes=self.scored.classes,
            unseen=tuple(self.scored.classes[i] for i in self.scored.unseen),
            colours=self.scored.label_set.colours,
            pictures=tuple(self.rows),
        )
        write_json(self.folder / PICTURES_FILE, content.model_dump(mode="json"))


def _reduced(picture: Picture, truth: Labels, predicted: Labels) -> KeptPicture:
    """Reduce a picture and its label maps to `LONGEST_SIDE`, if it is larger."""
    ids = [labels.astype(np.uint8) for labels in (truth, predicted)]
    factor = LONGEST_SIDE / max(truth.shape)
    if factor >= 1:
        return KeptPicture(picture, *ids)
    height, width = (max(1, round(side * factor)) for side in truth.shape)
    maps = [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.NEAREST)) for one in ids]
    reduced = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    return KeptPicture(np.asarray(reduced), *maps)
