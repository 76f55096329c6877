"""Pictures of label maps: coloured overlays with a legend, palette PNGs, and panels beside the truth."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cascade_core.labelsets import IGNORE

Picture = UInt8[np.ndarray, "height width 3"]
Labels = Integer[np.ndarray, "label_height label_width"]

SHOWN_SIDE = 256
"""Smaller pictures are enlarged by a whole factor to about this width, so that legends can be read."""
MARGIN = 8
FONT_SIZE = 14
LINE = 20
IGNORED_COLOUR = (128, 128, 128)
LEGEND_SHARE = 0.0005
"""Classes on a smaller share of the pixels get no line in the legend."""


def palette(num_classes: int) -> UInt8[np.ndarray, "{num_classes} 3"]:
    """Give colours as far from one another as can be, the same for a class whatever their number.

    Each colour is the one farthest from all before it, and from black, white and the grey of ignored
    pixels, by weighted RGB distance, in which the eye's red, green and blue count 2 : 4 : 3.
    """
    levels = np.linspace(0, 255, 11)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    taken = np.array([(0, 0, 0), (255, 255, 255), IGNORED_COLOUR])
    distances = np.min([_distance(candidates, colour) for colour in taken], axis=0)
    colours = np.zeros((num_classes, 3), dtype=np.uint8)
    for i in range(num_classes):
        farthest = candidates[distances.argmax()]
        distances = np.minimum(distances, _distance(candidates, farthest))
        colours[i] = farthest.round()
    return colours


def _distance(colours: Float[np.ndarray, "colours 3"], colour: np.ndarray) -> Float[np.ndarray, " colours"]:
    return np.sqrt(((colours - colour) ** 2 * (2, 4, 3)).sum(axis=1))


def coloured(
    labels: Integer[np.ndarray, "height width"], num_classes: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Paint each class with its colour and every other id grey."""
    return _colour_table(num_classes)[np.asarray(labels, dtype=np.uint8)]


def label_png(labels: Labels, num_classes: int) -> Image.Image:
    """Give the label map as a palette picture: ids 0..C-1 and `IGNORE` as they are, in their colours.

    Raises:
        ValueError: an id is neither a class nor `IGNORE`, or there are more classes than ids.
    """
    colours = _colour_table(num_classes)
    _check_ids(labels, num_classes)
    image = Image.fromarray(np.asarray(labels, dtype=np.uint8))
    image.putpalette(colours.flatten().tolist())
    return image


def overlay(picture: Picture, labels: Labels, names: Sequence[str], *, alpha: float = 0.55) -> Image.Image:
    """Give the picture tinted by its labels, with a legend of the classes on it, largest first, at the right.

    Ignored pixels are not tinted.

    Raises:
        ValueError: sizes differ, or an id is neither a class nor `IGNORE`.
    """
    _check(picture, labels, names)
    tinted = _enlarged(_tinted(picture, labels, len(names), alpha))
    return _beside([tinted, _legend([labels], names, height=tinted.height)])


def panel(
    picture: Picture, label_maps: Mapping[str, Labels], names: Sequence[str], *, alpha: float = 0.75
) -> Image.Image:
    """Give picture, truth and predictions side by side, each titled, with one legend.

    `label_maps` holds them by title, from left to right.

    Raises:
        ValueError: as of `overlay`.
    """
    for labels in label_maps.values():
        _check(picture, labels, names)
    tiles = {"image": _enlarged(picture)} | {
        title: _enlarged(_tinted(picture, labels, len(names), alpha)) for title, labels in label_maps.items()
    }
    titled = [_titled(tile, title) for title, tile in tiles.items()]
    return _beside([*titled, _legend(list(label_maps.values()), names, height=titled[0].height)])


def stack(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures below one another on white."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def to_picture(
    image: Float[Tensor, "3 height width"],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Picture:
    """Undo the normalisation of a sample; mean and deviation are on the scale 0..255."""
    scale, offset = torch.tensor(std).view(3, 1, 1), torch.tensor(mean).view(3, 1, 1)
    levels = (image.cpu().float() * scale + offset).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _check(picture: Picture, labels: Labels, names: Sequence[str]) -> None:
    if picture.shape[:2] != labels.shape:
        raise ValueError(f"picture of {picture.shape[:2]} and labels of {labels.shape} differ in size")
    _check_ids(labels, len(names))


def _check_ids(labels: Labels, num_classes: int) -> None:
    ids = np.unique(labels)
    stray = ids[((ids < 0) | (ids >= num_classes)) & (ids != IGNORE)]
    if stray.size:
        raise ValueError(
            f"label ids {stray.tolist()} are neither 0..{num_classes - 1} nor {IGNORE} (ignored)"
        )


def _colour_table(num_classes: int) -> UInt8[np.ndarray, "256 3"]:
    """Give a colour for each of the 256 ids, grey where no class is."""
    if num_classes > IGNORE:
        raise ValueError(f"{num_classes} classes do not fit in 8-bit label maps; at most {IGNORE} do")
    table = np.tile(np.array(IGNORED_COLOUR, dtype=np.uint8), (IGNORE + 1, 1))
    table[:num_classes] = palette(num_classes)
    return table


def _tinted(picture: Picture, labels: Labels, num_classes: int, alpha: float) -> Picture:
    mixed = picture * (1 - alpha) + coloured(labels, num_classes) * alpha
    return np.where((labels == IGNORE)[..., None], picture, mixed.round()).astype(np.uint8)


def _enlarged(picture: Picture) -> Image.Image:
    height, width = picture.shape[:2]
    factor = max(1, round(SHOWN_SIDE / max(height, width)))
    return Image.fromarray(picture).resize((width * factor, height * factor), Image.Resampling.NEAREST)


def _legend(label_maps: Sequence[Labels], names: Sequence[str], *, height: int) -> Image.Image:
    """Draw a swatch and name for each class present, in as many columns as the height asks for."""
    ids = np.concatenate([labels.ravel() for labels in label_maps])
    counts = np.bincount(ids, minlength=IGNORE + 1)[: len(names)]
    present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] > LEGEND_SHARE * ids.size]
    font = ImageFont.load_default(FONT_SIZE)
    lines = max(1, (height - MARGIN) // LINE)
    widths = [LINE + MARGIN + int(font.getlength(names[i])) for i in present]
    column_width = max(widths, default=0) + MARGIN
    columns = -(-len(present) // lines)
    legend = Image.new("RGB", (MARGIN + columns * column_width, height), "white")
    draw = ImageDraw.Draw(legend)
    colours = palette(len(names))
    for place, i in enumerate(present):
        left, top = MARGIN + place // lines * column_width, MARGIN // 2 + place % lines * LINE
        fill = (int(colours[i, 0]), int(colours[i, 1]), int(colours[i, 2]))
        draw.rectangle((left, top + 3, left + LINE - 6, top + LINE - 3), fill=fill, outline="black")
        draw.text((left + LINE, top + LINE // 2), names[i], fill="black", font=font, anchor="lm")
    return legend


def _titled(tile: Image.Image, title: str) -> Image.Image:
    sheet = Image.new("RGB", (tile.width, tile.height + LINE), "white")
    sheet.paste(tile, (0, LINE))
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(sheet).text((tile.width // 2, LINE // 2), title, fill="black", font=font, anchor="mm")
    return sheet


def _beside(tiles: Sequence[Image.Image]) -> Image.Image:
    width = sum(tile.width for tile in tiles) + MARGIN * (len(tiles) - 1)
    sheet = Image.new("RGB", (width, max(tile.height for tile in tiles)), "white")
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width + MARGIN
    return sheet
