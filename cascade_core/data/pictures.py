"""Decode photographs and label maps; every kind of broken file has its own error message."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from cascade_core.data.picture_names import FORMATS
from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet

MOST_PIXELS = 2**30 // 10
"""Limit on a picture's pixels; a 102-megapixel photograph has fewer. Decoding takes up to ten bytes a pixel, so less than
1 GiB. For a WebP it takes sixteen bytes, so the limit is lower."""
MOST_COLOURS = 5
"""The number of unknown colours that an error about a label map names."""
STRIP_ROWS = 256
"""The number of rows that are converted to RGB at a time, because a conversion copies its pixels."""

_STRAY = IGNORE - 1
"""Marks raw ids outside the label set; a label set has at most 254 classes, so it is no train id."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""The exceptions that Pillow raises for truncated, foreign or hostile files."""
_ID_STEPS = {"1": 1, "L": 1, "L;2": 85, "L;4": 17, "P": 1, "P;1": 1, "P;2": 1, "P;4": 1, "I;16B": 1}
"""The pixel formats of a PNG that may hold ids, and the step between ids: Pillow scales grey values to 0..255."""


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
        return _rgb(picture)


def decode_label_ids(content: bytes, where: str) -> UInt8[np.ndarray, "height width"]:
    """Decode a label map to the raw ids in the file: palette indices or grey values, as they are stored.

    Raises:
        UserError: the file is no PNG or truncated, its pixels are colours, or an id has more than 8 bits.
    """
    with _opened(content, where, "a label map", formats=("PNG",)) as picture:
        kind = str(picture.tile[0].args) if picture.tile else picture.mode
        if kind not in _ID_STEPS:
            raise UserError(
                f"{where}: a label map holds one id a pixel (grey or palette PNG, mode L or P), this file is "
                f"{picture.mode!r}; write ids instead of colours, or state the colours of your classes in a label file "
                "(map_colours)"
            )
        picture.load()
        ids = np.array(picture)
    if ids.max(initial=0) > 255:
        raise UserError(
            f"{where}: has 16 bits a pixel and ids up to {ids.max()}; label maps hold ids 0..255, in 8 bits a pixel"
        )
    return ids.astype(np.uint8) // _ID_STEPS[kind]


def decode_label_colours(
    content: bytes, where: str, ids: Mapping[str, int]
) -> UInt8[np.ndarray, "height width"]:
    """Decode a label map that holds colours to the ids that they stand for; `ids` has the id for each "#ff8000".

    Raises:
        UserError: the file is no PNG or truncated, its pixels have more than 8 bits or no colours, or a colour has no id.
    """
    with _opened(content, where, "a label map", formats=("PNG",)) as picture:
        if picture.mode not in ("RGB", "RGBA", "P"):
            raise UserError(
                f"{where}: a label map in colours is an 8-bit colour PNG (mode RGB or P), this file is {picture.mode!r}; "
                "write the colours of the label file, or remove its map_colours if the maps hold ids"
            )
        picture.load()
        levels = _rgb(picture).astype(np.int32)
    packed = levels[..., 0] << 16 | levels[..., 1] << 8 | levels[..., 2]
    known = np.array(sorted(int(colour[1:], 16) for colour in ids), np.int32)
    place = np.searchsorted(known, packed).clip(max=len(known) - 1)
    if (strays := packed[known[place] != packed]).size:
        values, counts = np.unique(strays, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:MOST_COLOURS]
        some = ", ".join(f"'#{values[i]:06x}' ({counts[i]} pixels)" for i in most)
        others = f" and {len(values) - len(most)} more" if len(values) > len(most) else ""
        raise UserError(
            f"{where}: colours {some}{others} are not in the label file; give them a class, background (map_colours) or "
            "ignore_colours there. Many colours mean a map that was resized or compressed: export it anew"
        )
    table = np.array([ids[f"#{colour:06x}"] for colour in known.tolist()], np.uint8)
    return table[place]


def upright_size(source: bytes | Path, where: str) -> tuple[int, int]:
    """Return width and height of a photograph in its EXIF orientation, without decoding it.

    Raises:
        UserError: it is no picture, or too large.
    """
    with _opened(source, where, "a picture") as picture:
        width, height = picture.size
        if picture.format == "PNG" and isinstance(source, bytes) and not _may_be_turned(source):
            return width, height
        return (height, width) if picture.getexif().get(0x0112, 1) in (5, 6, 7, 8) else (width, height)


def _may_be_turned(content: bytes) -> bool:
    """Return whether a PNG file may state an orientation; Pillow decodes the whole picture to look for it."""
    return any(mark in content for mark in (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"))


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
def _opened(
    source: bytes | Path, where: str, kind: str, *, formats: tuple[str, ...] = tuple(FORMATS)
) -> Iterator[ImageFile.ImageFile]:
    """Open a picture for decoding, and turn Pillow's exceptions into a `UserError`."""
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as picture:
            most = MOST_PIXELS * 10 // 16 if picture.format == "WEBP" else MOST_PIXELS
            if picture.width * picture.height > most:
                raise UserError(
                    f"{where}: has more than {most:,} pixels ({picture.width} x {picture.height}); "
                    "cut or scale it down, with its label map; predict --raster labels pictures of any size"
                )
            yield picture
    except UserError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own, of pictures twice as large
        raise UserError(
            f"{where}: has more than {MOST_PIXELS:,} pixels ({error}); cut or scale it down, with its label map; "
            "predict --raster labels pictures of any size"
        ) from error
    except _BROKEN as error:
        reason: object = error
        if isinstance(error, UnidentifiedImageError):  # Pillow's own text contains a memory address.
            reason = f"it is none of {', '.join(formats)}" if source else "it is empty"
        raise UserError(
            f"{where}: cannot be decoded as {kind} ({reason}); fetch or export the file again"
        ) from error


def _rgb(picture: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Convert a loaded picture strip by strip."""
    levels = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
    for top in range(0, picture.height, STRIP_ROWS):
        strip = picture.crop((0, top, picture.width, min(top + STRIP_ROWS, picture.height)))
        levels[top : top + STRIP_ROWS] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return levels


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and the data root"
        ) from error
