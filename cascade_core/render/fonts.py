"""Fonts for a legend: Pillow's own for ASCII names, else the first font with all letters of the name."""

import logging
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

log = logging.getLogger(__name__)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def drawable(text: str, size: int) -> tuple[str, Font]:
    r"""Return a text to draw and a font that has its letters.

    If no font of this machine has them all, non-ASCII letters become `\uXXXX`, which keeps names distinct, and a
    warning is logged once per name.
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
    """Return the file of a font with all letters of `text`; "" is Pillow's own font, None is no font."""
    if text.isascii():
        return ""
    needed = {ord(letter) for letter in text if not letter.isspace()}
    for path in _fonts():
        if needed <= _letters(path):
            return path
    log.warning(
        "no font of this machine has all letters of %r, so the legend shows codes; install a Noto font", text
    )
    return None


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    """Return DejaVu Sans, which matplotlib brings, then the fonts of this machine."""
    # Imported here because it is slow and most names are ASCII.
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
        return frozenset()  # the file is no readable font
