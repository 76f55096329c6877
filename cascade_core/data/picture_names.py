"""Decide which files are pictures, and which names mean the same file; every reader uses these rules."""

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from posixpath import splitext

from cascade_core.runtime.listing import short_list

log = logging.getLogger(__name__)

FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The decoders of Pillow that readers use, by Pillow's names, and the suffixes of their files.

EPS is left out because it is a program for Ghostscript, and ICO because Pillow decodes it before it reports a size.
"""
SUFFIXES = tuple(sorted(suffix for suffixes in FORMATS.values() for suffix in suffixes))


def is_picture(name: str) -> bool:
    """Return whether a file name has a picture's suffix."""
    return splitext(name)[1].lower() in SUFFIXES


def comparable(name: str) -> str:
    """Return a file name in the form for comparisons: Unicode's composed form, with the suffix in small letters."""
    stem, suffix = splitext(unicodedata.normalize("NFC", name))
    return stem + suffix.lower()


def bare(name: str) -> str:
    """Return a picture's name without its suffix, in the form for comparisons and lists."""
    stem, suffix = splitext(comparable(name))
    return stem if suffix in SUFFIXES else stem + suffix


def by_name(files: Iterable[str], name: Callable[[str], str]) -> dict[str, list[str]]:
    """Group files by the result of `name`."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(name(file), []).append(file)
    return groups


def log_skipped(folder: Path, files: Sequence[str], why: str) -> None:
    """Log the number of skipped files of a folder and the names of the first; log nothing if `files` is empty."""
    if files:
        log.warning("%s: %d files are skipped, %s: %s", folder, len(files), why, short_list(files, most=5))
