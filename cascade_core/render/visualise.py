"""Pictures of label maps: overlays with a legend, palette PNGs, and panels of truth and predictions."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageOps

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.render.colours import IGNORED_COLOUR, palette
from cascade_core.render.fonts import drawable

Picture = UInt8[np.ndarray, "height width 3"]
Labels = Integer[np.ndarray, "label_height label_width"]

SMALLEST_SIDE = 256
"""Pictures with a shorter long side are enlarged by a whole factor to about this size."""
LARGEST_SIDE = 4096
"""Overlays of pictures with a longer long side are shrunk to this size."""
MARGIN = 8
FONT_SIZE = 14
LINE = 20
LEGEND_SHARE = 0.0005
"""The legend leaves out classes on a smaller share of the pixels."""
LEGEND_LINES, MOST_LINES = 12, 60
"""A legend beside a flat picture has up to this many lines; a legend names at most this many classes."""
WIDE_IGNORE = 2**16 - 1
"""The id of ignored pixels in 16-bit label maps, in place of `IGNORE`."""


def coloured(
    labels: Integer[np.ndarray, "height width"], num_classes: int, colours: Sequence[str] = ()
) -> UInt8[np.ndarray, "height width 3"]:
    """Paint each class in its colour of `palette` and every other id grey."""
    return _colour_table(num_classes, colours)[labels]


def label_png(labels: Labels, num_classes: int, colours: Sequence[str] = ()) -> Image.Image:
    """Return the label map as a palette picture of the same ids, or as a 16-bit grey one for over 255 classes.

    Raises:
        UserError: an id is neither a class nor `ignored_id`, or there are more classes than ids.
    """
    _check_ids(labels, num_classes)
    if num_classes > IGNORE:
        return Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint16))
    image = Image.fromarray(np.asarray(labels, dtype=np.uint8))
    image.putpalette(_colour_table(num_classes, colours).flatten().tolist())
    return image


def overlay(
    picture: Picture, labels: Labels, names: Sequence[str], *, colours: Sequence[str] = ()
) -> Image.Image:
    """Return the picture tinted by its labels, with a legend of its classes, largest first, at the right.

    Ignored pixels are not tinted. A picture with a side above 4,096 pixels is shrunk.

    Raises:
        UserError: sizes differ, or an id is neither a class nor `ignored_id`.
    """
    _check(picture, labels, names)
    picture, labels = shrunk(picture, labels, longest=LARGEST_SIDE)
    tile = enlarged(tinted(picture, labels, len(names), 0.55, colours))
    return _beside([tile, _legend([labels], names, colours, height=tile.height)])


def panel(
    picture: Picture, label_maps: Mapping[str, Labels], names: Sequence[str], *, colours: Sequence[str] = ()
) -> Image.Image:
    """Return the picture and its label maps side by side, with titles and one legend.

    `label_maps` holds the maps by title, from left to right.

    Raises:
        UserError: sizes differ, or an id is neither a class nor `ignored_id`.
    """
    for labels in label_maps.values():
        _check(picture, labels, names)
    tiles = {"image": enlarged(picture)} | {
        title: enlarged(tinted(picture, labels, len(names), 0.75, colours))
        for title, labels in label_maps.items()
    }
    titled = [_titled(tile, title) for title, tile in tiles.items()]
    return _beside([*titled, _legend(list(label_maps.values()), names, colours, height=titled[0].height)])


def _check(picture: Picture, labels: Labels, names: Sequence[str]) -> None:
    if picture.shape[:2] != labels.shape:
        raise UserError(
            f"picture of {picture.shape[:2]} and labels of {labels.shape} differ in size; resize one of them"
        )
    _check_ids(labels, len(names))


def ignored_id(num_classes: int) -> int:
    """Return the id of ignored pixels: 255, or 65535 if 255 is a class.

    Raises:
        UserError: a label map cannot hold so many classes.
    """
    if num_classes > WIDE_IGNORE:
        raise UserError(f"{num_classes} classes do not fit in 16-bit label maps; at most {WIDE_IGNORE} do")
    return IGNORE if num_classes <= IGNORE else WIDE_IGNORE


def _check_ids(labels: Labels, num_classes: int) -> None:
    ids, ignored = np.unique(labels), ignored_id(num_classes)
    stray = ids[((ids < 0) | (ids >= num_classes)) & (ids != ignored)]
    if stray.size:
        raise UserError(
            f"label ids {stray.tolist()} are neither 0..{num_classes - 1} nor {ignored} (ignored)"
        )


def _colour_table(num_classes: int, colours: Sequence[str]) -> UInt8[np.ndarray, "ids 3"]:
    """Return a colour for each of the 256 (or 65,536) ids, grey for ids without a class."""
    table = np.tile(np.array(IGNORED_COLOUR, dtype=np.uint8), (ignored_id(num_classes) + 1, 1))
    table[:num_classes] = palette(num_classes, colours)
    return table


def shrunk(
    picture: Picture, labels: Labels, *, longest: int
) -> tuple[UInt8[np.ndarray, "rows columns 3"], Integer[np.ndarray, "rows columns"]]:
    """Return a picture and its label map with no side above `longest` pixels."""
    factor = longest / max(labels.shape)
    if factor >= 1:
        return picture, labels
    height, width = (max(1, round(side * factor)) for side in labels.shape)
    rows, columns = (np.arange(n) * side // n for n, side in zip((height, width), labels.shape, strict=True))
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    return np.asarray(small), labels[np.ix_(rows, columns)]


def tinted(
    picture: Picture, labels: Labels, num_classes: int, alpha: float, colours: Sequence[str] = ()
) -> Picture:
    """Blend a picture with its labels' colours, with weight `alpha`; ignored pixels stay as they are."""
    plain = Image.fromarray(picture)
    mixed = Image.blend(plain, Image.fromarray(coloured(labels, num_classes, colours)), alpha)
    mixed.paste(plain, mask=Image.fromarray(labels == ignored_id(num_classes)))
    return np.asarray(mixed)


def enlarged(picture: Picture, side: int = SMALLEST_SIDE) -> Image.Image:
    """Enlarge a picture by the whole factor that brings its longer side closest to `side`; pixels stay sharp."""
    factor = max(1, round(side / max(picture.shape[:2])))
    return ImageOps.scale(Image.fromarray(picture), factor, Image.Resampling.NEAREST)


def legend(names: Sequence[str], colours: Sequence[str] = (), *, height: int) -> Image.Image:
    """Return a legend of all classes in their order, at least `height` pixels high; beyond 60 it names their number."""
    return _legend([np.arange(len(names))[None]], names, colours, height=height)


def _legend(
    label_maps: Sequence[Labels], names: Sequence[str], colours: Sequence[str], *, height: int
) -> Image.Image:
    """Draw a swatch and name for each class present, in as many columns as the height requires."""
    present, num_others = _present(label_maps, len(names))
    levels = palette(len(names), colours).tolist()
    entries = [(*drawable(names[i], FONT_SIZE), tuple(levels[i])) for i in present]
    if num_others:
        entries.append((*drawable(f"and {num_others} more", FONT_SIZE), (255, 255, 255)))
    lines = max((height - MARGIN) // LINE, min(LEGEND_LINES, len(entries)), 1)
    column_width = max(
        (LINE + 2 * MARGIN + int(font.getlength(text)) for text, font, _ in entries), default=0
    )
    size = (MARGIN + -(-len(entries) // lines) * column_width, max(height, MARGIN + lines * LINE))
    legend = Image.new("RGB", size if len(entries) else (MARGIN, height), "white")
    draw = ImageDraw.Draw(legend)
    for place, (text, font, colour) in enumerate(entries):
        left, top = MARGIN + place // lines * column_width, MARGIN // 2 + place % lines * LINE
        outline = None if colour == (255, 255, 255) else "black"
        draw.rectangle((left, top + 3, left + LINE - 6, top + LINE - 3), fill=colour, outline=outline)
        draw.text((left + LINE, top + LINE // 2), text, fill="black", font=font, anchor="lm")
    return legend


def _present(label_maps: Sequence[Labels], num_classes: int) -> tuple[list[int], int]:
    """Return the classes that a legend names, largest first, and the number of classes it leaves out."""
    ids = np.concatenate([labels.ravel() for labels in label_maps])
    counts = np.bincount(ids, minlength=num_classes)[:num_classes]
    present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] > LEGEND_SHARE * ids.size]
    return present[:MOST_LINES], len(present[MOST_LINES:])


def _titled(tile: Image.Image, title: str) -> Image.Image:
    sheet = ImageOps.expand(tile, (0, LINE, 0, 0), "white")
    text, font = drawable(title, FONT_SIZE)
    ImageDraw.Draw(sheet).text((tile.width // 2, LINE // 2), text, fill="black", font=font, anchor="mm")
    return sheet


def _beside(tiles: Sequence[Image.Image]) -> Image.Image:
    """Paste pictures side by side on white."""
    lefts = [0, *accumulate(tile.width + MARGIN for tile in tiles)]
    sheet = Image.new("RGB", (lefts[-1] - MARGIN, max(tile.height for tile in tiles)), "white")
    for left, tile in zip(lefts[:-1], tiles, strict=True):
        sheet.paste(tile, (left, 0))
    return sheet
