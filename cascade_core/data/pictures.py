"""Decoding of photographs and label maps, with one clear error for each way a file can be unusable."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet

MOST_PIXELS = 178_956_970
"""More are refused, as Pillow does: such a file is a mistake or made to fill the memory."""

_STRAY = IGNORE - 1
"""Stands for raw ids that may not be: a label set has 254 classes at most, so no train id is as high."""
_FOREIGN = "it is of no known format"
"""In place of Pillow's words for that, which tell an address in memory."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for truncated, foreign or hostile files."""


def decode_image(content: bytes, where: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a whole photograph to upright RGB.

    The EXIF orientation is applied (as OpenCV, with which published numbers were made, does), grey and
    CMYK pictures become RGB, transparency is dropped. `where` names the file in errors.

    Raises:
        UserError: the picture is truncated, is no picture, has more than 8 bits a channel, or is huge.
    """
    try:
        with _opened(content, where) as picture:
            if picture.mode.startswith(("I", "F")):
                raise UserError(
                    f"{where}: pixels of mode {picture.mode!r} have more than 8 bits; convert it to 8-bit RGB"
                )
            picture.load()
            # In place, and converted only where it is needed, for each would copy the picture.
            ImageOps.exif_transpose(picture, in_place=True)
            return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(
            f"{where}: cannot be decoded as a picture ({error}); fetch or export the file again"
        ) from error


def decode_label_ids(content: bytes, where: str) -> UInt8[np.ndarray, "height width"]:
    """Decode a label map to the raw ids written in the file: palette indices or grey values.

    Raises:
        UserError: the file is truncated, or its pixels are not single 8-bit ids (a colour picture).
    """
    try:
        with _opened(content, where) as picture:
            picture.load()
            mode, ids = picture.mode, np.array(picture)
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(
            f"{where}: cannot be decoded as a label map ({error}); fetch or export the file again"
        ) from error
    if mode not in ("P", "L"):
        raise UserError(
            f"{where}: a label map holds one 8-bit id a pixel (PNG mode P or L), this file is {mode!r}; "
            "write ids instead of colours"
        )
    return ids


def to_train_ids(
    raw_ids: UInt8[np.ndarray, "height width"], label_set: LabelSet, where: str
) -> UInt8[np.ndarray, "height width"]:
    """Turn raw ids into train ids and `IGNORE`.

    Raises:
        UserError: a raw id does not belong to the label set.
    """
    table = np.where(label_set.table == INVALID, _STRAY, label_set.table).astype(np.uint8)
    # Bytes are looked up, and looked through, in a fraction of the time that numpy's indexing takes.
    train_ids = bytearray(raw_ids).translate(table.tobytes())
    if _STRAY in train_ids:
        stray = np.unique(raw_ids[label_set.table[raw_ids] == INVALID])
        raise UserError(
            f"{where}: label ids {stray.tolist()} are not in label set {label_set.name!r}, whose files hold "
            f"{label_set.describe_raw_ids()}; choose the label set of this data, or mend the map"
        )
    return np.frombuffer(train_ids, dtype=np.uint8).reshape(raw_ids.shape)


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read a photograph from disk as upright RGB; errors as of `decode_image`."""
    return decode_image(_content(path), str(path))


def read_label_ids(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Read the raw ids of a label map from disk; errors as of `decode_label_ids`."""
    return decode_label_ids(_content(path), str(path))


def read_label_map(path: Path, label_set: LabelSet) -> UInt8[np.ndarray, "height width"]:
    """Read a label map from disk as train ids and `IGNORE`; errors as of `to_train_ids`."""
    return to_train_ids(read_label_ids(path), label_set, str(path))


def _opened(content: bytes, where: str) -> Image.Image:
    """Open a picture, not yet decoded, whose size is one that can be worked with."""
    try:
        return Image.open(BytesIO(content))
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(_FOREIGN if content else "it is empty") from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{where}: has more than {MOST_PIXELS:,} pixels ({error}); cut or scale it down, with its label map"
        ) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and the data root"
        ) from error
