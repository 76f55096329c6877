"""A font for each name in a legend: Pillow's own for ASCII, else the first at hand that has all its letters."""

import logging
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

log = logging.getLogger(__name__)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def drawable(text: str, size: int) -> tuple[str, Font]:
    r"""Give a text as it can be drawn, and the font that draws it.

    Where no font of this machine has all letters, they are spelt as `\uXXXX`, so that names stay apart; a
    warning says so once for each name.
    """
    path = _font_path(text)
    if path is not None:
        return text, _font(path, size)
    return text.encode("ascii", "backslashreplace").decode("ascii"), _font("", size)


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@lru_cache(maxsize=2**16)
def _font_path(text: str) -> str | None:
    """Give the file of a font with all letters of `text`: "" for Pillow's own, None where there is none."""
    if text.isascii():
        return ""
    needed = {ord(letter) for letter in text if not letter.isspace()}
    for path in _fonts():
        if needed <= _letters(path):
            return path
    log.warning(
        "no font here has all letters of %r, which the legend spells as codes; a Noto font mends that", text
    )
    return None


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    """List DejaVu Sans, which comes with matplotlib, then the fonts of this machine."""
    # Imported here, as it is slow: most names are ASCII.
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    own = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return str(own), *sorted(findSystemFonts())


@lru_cache(maxsize=512)
def _letters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()  # a file that is no font draws nothing
