"""A sheet: tiles with titles in a row, above a legend, as one picture."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from cascade_core.render.fonts import drawable

MARGIN, TITLE, FONT, SMALLEST, LINE = 10, 28, 16, 8, 26


def sheet(tiles: Mapping[str, Image.Image], legend: Sequence[tuple[str, str]]) -> Image.Image:
    """Lay out tiles of one size in a row, by their titles, above a legend of names and colours that takes as many lines as it needs."""
    size = next(iter(tiles.values())).size
    width = len(tiles) * (size[0] + MARGIN) + MARGIN
    lines: list[list[tuple[str, str, int]]] = [[]]
    for text, colour in legend:
        needed = LINE + int(drawable(text, FONT)[1].getlength(text)) + 2 * MARGIN
        if lines[-1] and sum(one[2] for one in lines[-1]) + needed > width - 2 * MARGIN:
            lines.append([])
        lines[-1].append((text, colour, needed))
    whole = Image.new("RGB", (width, TITLE + size[1] + MARGIN + len(lines) * LINE + MARGIN), "white")
    draw = ImageDraw.Draw(whole)
    for place, (title, tile) in enumerate(tiles.items()):
        left = MARGIN + place * (size[0] + MARGIN)
        text, font = drawable(title, FONT)
        if (length := font.getlength(text)) > size[0]:
            text, font = drawable(title, max(SMALLEST, int(FONT * size[0] / length)))
        draw.text((left + size[0] // 2, TITLE // 2), text, fill="black", font=font, anchor="mm")
        whole.paste(tile, (left, TITLE))
    for row, entries in enumerate(lines):
        left, top = MARGIN, TITLE + size[1] + MARGIN + row * LINE
        for text, colour, needed in entries:
            draw.rectangle((left, top + 4, left + LINE - 10, top + LINE - 6), fill=colour, outline="black")
            letters, font = drawable(text, FONT)
            draw.text((left + LINE - 4, top + LINE // 2 - 1), letters, fill="black", font=font, anchor="lm")
            left += needed
    return whole
