"""Pseudo-labels of pictures without label maps: a teacher labels them once, before the training that mixes them in.

A pixel keeps the teacher's class if the teacher is confident, and is ignored otherwise. Each map appears whole, by a
rename, so an interrupted labelling goes on after its last map.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8

from cascade_core.batches.samples import TeacherLabels
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.data.pictures import read_image, read_label_ids
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import IGNORE
from cascade_core.predictor import Prediction, Predictor
from cascade_core.render.visualise import label_png
from cascade_core.runtime.files import new_file, read_json, sha256, write_json
from cascade_core.runtime.listing import same_name, short_list
from components.artifacts.manifest import input_hash
from components.pictures.picture_files import PictureFile, picture_files
from components.progress import progress
from components.vectors.encoding import encoded

REQUEST_FILE, SUMMARY_FILE = "request.json", "summary.json"
DEFAULT_CONFIDENCE = 0.5


@dataclass
class Unlabelled:
    """Pictures without label maps, the teacher that labels them, and what the labels depend on.

    The teacher, which has encoded the class names, is dropped once the pictures are labelled: training needs its memory.
    """

    folder: Path
    teacher: Path
    predictor: Predictor | None
    classes: tuple[str, ...]
    confidence: float
    pictures: tuple[PictureFile, ...]
    pictures_sha256: str
    teacher_identity: str

    @classmethod
    def checked(
        cls,
        folder: Path,
        teacher: Path,
        split: ClassSplit,
        *,
        mode: SelfTrainingMode,
        confidence: float,
        out: Path,
    ) -> Self:
        """List the pictures, and check that the teacher may and can label them with the classes of `split`.

        Raises:
            UserError: there is no picture, the confidence is no probability, the teacher is no model folder or does
                not know a class's words, or it was trained on what this training must not see.
        """
        if not 0 <= confidence <= 1:
            raise UserError(f"--confidence {confidence:g} is not a probability; give a number from 0 to 1")
        if not folder.is_dir():
            raise UserError(f"--unlabelled {folder} is not a folder; give a folder of pictures")
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"--out {out} lies in --unlabelled {folder}; give a folder outside of the pictures"
            )
        pictures = picture_files([folder], out=out)
        predictor = Predictor.load(teacher)
        _refuse_leak(teacher, predictor.manifest, split, mode)
        encoded(predictor, split.classes)
        return cls(
            folder=folder,
            teacher=teacher,
            predictor=predictor,
            classes=split.classes,
            confidence=confidence,
            pictures=tuple(pictures),
            pictures_sha256=input_hash(folder),
            teacher_identity=predictor.identity,
        )

    @cached_property
    def request(self) -> dict[str, Any]:
        """What the pseudo-labels depend on, as manifests record it."""
        return {
            "pictures": self.pictures_sha256,
            "teacher": self.teacher_identity,
            "classes": list(self.classes),
            "confidence": self.confidence,
        }

    def labelled(self, folder: Path, *, before_write: Callable[[], None]) -> TeacherLabels:
        """Write the teacher's label maps into `folder`; go on where an earlier call stopped.

        `before_write` is called before each map, and raises if another process took over the folder.

        Raises:
            UserError: `folder` holds maps of another request or a changed map, a picture cannot be read, or the
                teacher is confident of no pixel.
        """
        _check_request(self, folder)
        maps = {picture: folder / f"{picture.name}.png" for picture in self.pictures}
        missing = [picture for picture, file in maps.items() if not file.is_file()]
        predictor, self.predictor = self.predictor, None
        if missing:
            assert predictor is not None, "the pictures are labelled once"
            _label(self, predictor, maps, missing, before_write)
        del predictor
        digest = hashlib.sha256()
        confident: dict[PictureFile, float] = {}
        for picture, file in maps.items():
            digest.update(f"{picture.name}\0{sha256(file)}\n".encode())
            confident[picture] = float((read_label_ids(file) != IGNORE).mean())
        maps_sha256 = digest.hexdigest()
        summary = {
            "sha256": maps_sha256,
            "num_pictures": len(maps),
            "confident_share": sum(confident.values()) / len(maps),
        }
        _check_summary(summary, folder / SUMMARY_FILE)
        files = tuple(
            (picture.path.relative_to(self.folder).as_posix(), maps[picture].relative_to(folder).as_posix())
            for picture, share in confident.items()
            if share
        )
        if not files:
            raise UserError(
                f"teacher {self.teacher} is confident of no pixel in {self.folder}: no class reaches "
                f"{self.confidence:g}; lower --confidence and start again with --no-resume, or give another teacher"
            )
        return TeacherLabels(self.folder, folder, files, maps_sha256)


def confident_labels(
    prediction: Prediction, num_classes: int, confidence: float
) -> UInt8[np.ndarray, "height width"]:
    """Return the predicted ids below `num_classes` whose confidence is high enough, and `IGNORE` elsewhere."""
    ids = prediction.label_map
    sure = (prediction.confidence >= confidence) & (ids < num_classes)
    return np.where(sure, ids, IGNORE).astype(np.uint8)


def _label(
    unlabelled: Unlabelled,
    predictor: Predictor,
    maps: dict[PictureFile, Path],
    missing: Sequence[PictureFile],
    before_write: Callable[[], None],
) -> None:
    classes, done = unlabelled.classes, len(maps) - len(missing)
    with progress("pseudo-labels", len(maps), start=done) as bar:
        for number, picture in enumerate(missing, done + 1):
            prediction = predictor.predict(read_image(picture.path), classes)
            labels = confident_labels(prediction, len(classes), unlabelled.confidence)
            before_write()
            with new_file(maps[picture]) as path:
                label_png(labels, len(classes)).save(path, format="PNG")
            bar.advance(number)


def _check_request(unlabelled: Unlabelled, folder: Path) -> None:
    file = folder / REQUEST_FILE
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, unlabelled.request)
        return
    earlier = read_json(file)
    if earlier != unlabelled.request:
        differing = [key for key, value in unlabelled.request.items() if earlier.get(key) != value]
        raise UserError(
            f"{folder} holds pseudo-labels made with other {', '.join(differing)}; finish that run with its own "
            "settings, or start again with --no-resume"
        )


def _check_summary(summary: dict[str, Any], file: Path) -> None:
    if not file.is_file():
        write_json(file, summary)
    elif read_json(file) != summary:
        raise UserError(
            f"{file.parent}: the pseudo-labels changed since the teacher made them; start again with --no-resume"
        )


def _refuse_leak(
    teacher: Path, manifest: CheckpointManifest, split: ClassSplit, mode: SelfTrainingMode
) -> None:
    """Refuse a teacher that learned from labels which this training must not see."""
    labelled = set(map(same_name, manifest.classes))
    if manifest.setting != "supervised":
        labelled -= set(map(same_name, manifest.unseen))
    if leaks := [name for name in split.unseen_names if same_name(name) in labelled]:
        raise UserError(
            f"teacher {teacher} was trained with labels of {short_list(leaks, most=5)}, which are unseen in "
            f"{split.name!r}; give a model of the same seen classes, or one of CLIP alone (import-clip --method naclip)"
        )
    if manifest.setting == "transductive_oracle" and mode == "strict":
        raise UserError(
            f"teacher {teacher} was self-trained in mode oracle, which reads where unseen classes are; for mode strict "
            "give a teacher without that, such as one of CLIP alone (import-clip --method naclip)"
        )
