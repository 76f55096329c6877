"""Decode photographs and label maps; every kind of broken file has its own error message."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet

MOST_PIXELS = 178_956_970
"""Pillow's limit: a larger picture is a mistake, or made to fill the memory."""

_STRAY = IGNORE - 1
"""Marks raw ids outside the label set; a label set has at most 254 classes, so it is no train id."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""The exceptions that Pillow raises for truncated, foreign or hostile files."""


def decode_image(content: bytes, where: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a photograph to upright RGB; `where` names the file in errors.

    The EXIF orientation is applied, as by OpenCV, with which the published scores were computed. Grey and CMYK
    pictures become RGB; transparency is dropped.

    Raises:
        UserError: the picture is truncated, is no picture, has more than 8 bits a channel, or is too large.
    """
    with _opened(content, where, "a picture") as picture:
        if picture.mode.startswith(("I", "F")):
            raise UserError(
                f"{where}: pixels of mode {picture.mode!r} have more than 8 bits; convert it to 8-bit RGB"
            )
        picture.load()
        # Rotate in place and convert only if necessary, because each would copy the picture.
        ImageOps.exif_transpose(picture, in_place=True)
        return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def decode_label_ids(content: bytes, where: str) -> UInt8[np.ndarray, "height width"]:
    """Decode a label map to the raw ids in the file: palette indices or grey values.

    Raises:
        UserError: the file is truncated, or its pixels are not single 8-bit ids (a colour picture).
    """
    with _opened(content, where, "a label map") as picture:
        picture.load()
        mode, ids = picture.mode, np.array(picture)
    if mode not in ("P", "L"):
        raise UserError(
            f"{where}: a label map holds one 8-bit id a pixel (PNG mode P or L), this file is {mode!r}; "
            "write ids instead of colours"
        )
    return ids


def to_train_ids(
    raw_ids: UInt8[np.ndarray, "height width"], label_set: LabelSet, where: str
) -> UInt8[np.ndarray, "height width"]:
    """Map raw ids to train ids and `IGNORE`.

    Raises:
        UserError: a raw id is not in the label set.
    """
    table = np.where(label_set.table == INVALID, _STRAY, label_set.table).astype(np.uint8)
    # Translating and searching bytes is several times faster than indexing with numpy.
    train_ids = bytearray(raw_ids).translate(table.tobytes())
    if _STRAY in train_ids:
        strays = np.unique(raw_ids[label_set.table[raw_ids] == INVALID])
        raise UserError(
            f"{where}: label ids {strays.tolist()} are not in label set {label_set.name!r}, whose files hold "
            f"{label_set.describe_raw_ids()}; choose the label set of this data, or mend the map"
        )
    return np.frombuffer(train_ids, dtype=np.uint8).reshape(raw_ids.shape)


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read a photograph from disk as upright RGB; errors as in `decode_image`."""
    return decode_image(_content(path), str(path))


def read_label_ids(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Read the raw ids of a label map from disk; errors as in `decode_label_ids`."""
    return decode_label_ids(_content(path), str(path))


def read_label_map(path: Path, label_set: LabelSet) -> UInt8[np.ndarray, "height width"]:
    """Read a label map from disk as train ids and `IGNORE`; errors as in `to_train_ids`."""
    return to_train_ids(read_label_ids(path), label_set, str(path))


@contextmanager
def _opened(content: bytes, where: str, kind: str) -> Iterator[Image.Image]:
    """Open a picture for decoding, and turn Pillow's exceptions into a `UserError`."""
    try:
        with Image.open(BytesIO(content)) as picture:
            yield picture
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{where}: has more than {MOST_PIXELS:,} pixels ({error}); cut or scale it down, with its label map"
        ) from error
    except _BROKEN as error:
        reason: object = error
        if isinstance(error, UnidentifiedImageError):  # Pillow's own text contains a memory address.
            reason = "it is of no known format" if content else "it is empty"
        raise UserError(
            f"{where}: cannot be decoded as {kind} ({reason}); fetch or export the file again"
        ) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and the data root"
        ) from error
