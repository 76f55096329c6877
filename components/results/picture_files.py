"""Single pictures of an evaluation: the scores of all, and for a part of them the picture, its truth and its prediction.

`pictures.json` holds the scores. `predictions.zip` holds, for each picture that was kept, a reduced copy of the picture and
both label maps at that size; their ids are those of `classes` in `pictures.json`.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict

from cascade_core.data.pictures import decode_image, decode_label_ids
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated

PICTURES_FILE, PREDICTIONS_FILE = "pictures.json", "predictions.zip"
MOST_KEPT = 400
"""An evaluation keeps at most this many pictures, evenly spread over the split."""
LONGEST_SIDE = 256
"""Kept pictures with a longer side are reduced to this size."""
QUALITY = 85
PICTURE, TRUTH, PREDICTION = "picture.webp", "truth.png", "prediction.png"
MOST_BYTES = 2**24
"""No member of `predictions.zip` is larger when it is unpacked."""
STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WorstPair(BaseModel):
    """The largest mistake in a picture, as `cascade_core.scoring.pictures.Mistake` with the classes' names."""

    model_config = STRICT

    truth: str
    predicted: str
    share: float
    share_of_class: float


class PictureRow(BaseModel):
    """One picture's scores as fractions (None: nothing to score), its largest mistake, and whether it was kept."""

    model_config = STRICT

    name: str
    pixels: float | None
    miou: float | None
    miou_unseen: float | None
    mistake: WorstPair | None
    kept: bool


class PicturesOfEvaluation(BaseModel):
    """The content of `pictures.json`; `colours` are the classes' custom colours, or empty."""

    model_config = STRICT

    protocol: str
    split: str
    background: str
    classes: tuple[str, ...]
    unseen: tuple[str, ...]
    colours: tuple[str, ...]
    pictures: tuple[PictureRow, ...]

    def kept(self, name: str) -> PictureRow | None:
        """Return the scores of a picture that the evaluation kept; None if there is none of this name."""
        return next((row for row in self.pictures if row.name == name and row.kept), None)


@dataclass(frozen=True)
class KeptPicture:
    """A picture with its true and its predicted ids, at one size."""

    picture: UInt8[np.ndarray, "height width 3"]
    truth: UInt8[np.ndarray, "height width"]
    prediction: UInt8[np.ndarray, "height width"]


def kept_names(names: Sequence[str]) -> list[str]:
    """Return the names of the pictures that an evaluation keeps: all, or `MOST_KEPT` evenly spread ones."""
    if len(names) <= MOST_KEPT:
        return list(names)
    return [names[place] for place in np.linspace(0, len(names) - 1, MOST_KEPT).round().astype(int)]


def read_pictures(evaluation: Path) -> PicturesOfEvaluation | None:
    """Read the scores of single pictures; None for an evaluation without them, as older ones are.

    Raises:
        UserError: the file is broken.
    """
    file = evaluation / PICTURES_FILE
    if not file.is_file():
        return None
    return validated(
        PicturesOfEvaluation, read_json(file), source=file, way_out="run the evaluate step again"
    )


def write_kept(archive: zipfile.ZipFile, name: str, kept: KeptPicture) -> None:
    """Add a picture to `predictions.zip`; the same content gives the same bytes."""
    for part, ids in ((TRUTH, kept.truth), (PREDICTION, kept.prediction)):
        archive.writestr(_member(name, part), _encoded(Image.fromarray(ids), "PNG"))
    picture = Image.fromarray(kept.picture)
    archive.writestr(_member(name, PICTURE), _encoded(picture, "WEBP", quality=QUALITY))


def member_names(name: str) -> list[str]:
    """Return the names of a kept picture's files in `predictions.zip`, in their order there."""
    return [_member(name, part).filename for part in (TRUTH, PREDICTION, PICTURE)]


def read_kept(evaluation: Path, name: str) -> KeptPicture:
    """Read a kept picture of an evaluation.

    Raises:
        UserError: the file is missing or broken, or does not hold this picture.
    """
    file = evaluation / PREDICTIONS_FILE
    parts = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for part in (PICTURE, TRUTH, PREDICTION):
                member = archive.getinfo(_member(name, part).filename)
                if member.file_size > MOST_BYTES:
                    raise zipfile.BadZipFile(f"{member.filename} has {member.file_size:,} bytes")
                parts[part] = archive.read(member)
    except (OSError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise UserError(
            f"{file} does not hold the picture {name!r} ({error}); run the evaluate step again"
        ) from error
    where = f"{file}: {name}"
    kept = KeptPicture(
        decode_image(parts[PICTURE], where),
        decode_label_ids(parts[TRUTH], where),
        decode_label_ids(parts[PREDICTION], where),
    )
    if not kept.picture.shape[:2] == kept.truth.shape == kept.prediction.shape:
        raise UserError(f"{where}: picture and label maps differ in size; run the evaluate step again")
    return kept


def _member(name: str, part: str) -> zipfile.ZipInfo:
    # `ZipInfo` without a date stands for 1980, so that equal content has equal bytes.
    member = zipfile.ZipInfo(f"{name}/{part}")
    member.compress_type = zipfile.ZIP_STORED  # PNG and WebP are compressed
    return member


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return content.getvalue()
