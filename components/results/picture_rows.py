"""The report's pictures: a row each with truth and every method side by side, from best, median and worst pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.labels.label_set import IGNORE
from cascade_core.render.colours import hex_colour, palette
from cascade_core.render.numbers import with_numbers
from cascade_core.render.visualise import LEGEND_SHARE, enlarged, tinted
from components.results.names import file_stem
from components.results.pages import webp_address
from components.results.picture_files import (
    KeptPicture,
    PictureRow,
    PicturesOfEvaluation,
    WorstPair,
    read_kept,
    read_pictures,
)
from components.results.picture_sheet import sheet

EACH = 2
"""The number of rows from the best pictures, as from the median and the worst ones."""
TINT = 0.7
PICTURE_QUALITY = 88


@dataclass(frozen=True)
class Entry:
    """An evaluation on the page: its folder, its title, and the scores of its pictures."""

    folder: Path
    title: str
    pictures: PicturesOfEvaluation


@dataclass(frozen=True)
class Tile:
    """A picture of a row, with its title and the mean IoU of its labels, if they are scored."""

    title: str
    image: Image.Image
    score: float | None


def ranked_places(count: int) -> dict[int, str]:
    """Choose places in a ranking, the best first: `EACH` best, median and worst ones, fewer of each from short rankings.

    There are as many medians as best ones, for odd and for even counts.
    """
    each, last = min(EACH, max(1, count // 3)), count - 1
    steps = range(each)
    places = [("best", step) for step in steps]
    places += [("median", last // 2 + step) for step in steps]
    places += [("worst", last - each + 1 + step) for step in steps]
    chosen: dict[int, str] = {}
    for word, place in places:
        if 0 <= place <= last:
            chosen.setdefault(place, word)
    return chosen


def section_of(evaluations: Sequence[tuple[Path, str]]) -> dict[str, Any]:
    """Return what the page shows of pictures, for folders of evaluate steps and their titles; {} without pictures.

    Pictures are ranked by their mean IoU under the last evaluation. The other evaluations show a picture if they kept
    it and scored the same classes.

    Raises:
        UserError: a file of an evaluation is broken.
    """
    entries = _comparable(evaluations)
    if not entries:
        return {}
    last, ranked = entries[-1], _ranked(entries[-1])
    return {
        "last": last.title,
        "num_ranked": len(ranked),
        "num_pictures": len(last.pictures.pictures),
        "titles": [one.title for one in entries],
        "rows": [
            _row(ranked[place], f"{word}, rank {place + 1} of {len(ranked)}", entries)
            for place, word in sorted(ranked_places(len(ranked)).items())
        ],
    }


def sheets_of(evaluations: Sequence[tuple[Path, str]]) -> Iterator[tuple[str, Image.Image]]:
    """Yield the rows of the page as pictures of their own, each with a name for its file that starts with its rank.

    Raises:
        UserError: a file of an evaluation is broken.
    """
    entries = _comparable(evaluations)
    if not entries:
        return
    ranked = _ranked(entries[-1])
    for place, word in sorted(ranked_places(len(ranked)).items()):
        tiles, classes = _compared(ranked[place], entries)
        titled = {
            one.title if one.score is None else f"{one.title} {100 * one.score:.1f}": one.image
            for one in tiles
        }
        legend = [
            (f"{one['id']} {one['name']}{' (unseen)' if one['unseen'] else ''}", str(one["colour"]))
            for one in classes
        ]
        yield f"{place + 1:04}-{word}-{file_stem(ranked[place].name)}", sheet(titled, legend)


def _comparable(evaluations: Sequence[tuple[Path, str]]) -> list[Entry]:
    """Read the evaluations that have pictures and the classes of the last of these."""
    read = [(folder, title, read_pictures(folder)) for folder, title in evaluations]
    entries = [Entry(folder, title, pictures) for folder, title, pictures in read if pictures is not None]
    return [one for one in entries if one.pictures.classes == entries[-1].pictures.classes]


def _ranked(entry: Entry) -> list[PictureRow]:
    scored = [row for row in entry.pictures.pictures if row.kept and row.miou is not None]
    return sorted(scored, key=lambda row: (-(row.miou or 0.0), row.name))


def sentence(mistake: WorstPair | None, unseen: Sequence[str]) -> str:
    """Say what went wrong in a picture."""
    if mistake is None:
        return "Every labelled pixel is right."

    def of(name: str) -> str:
        return f"{'unseen' if name in unseen else 'seen'} class {name}"

    share, of_class = (_percent(value) for value in (mistake.share, mistake.share_of_class))
    return (
        f"The largest mistake: {of_class} of the {of(mistake.truth)} is labelled as the {of(mistake.predicted)} "
        f"({share} of the picture)."
    )


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _row(ranked: PictureRow, place: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return a row of the page: tiles with captions, the legend, and the sentence on the last evaluation."""
    tiles, classes = _compared(ranked, entries)
    return {
        "name": ranked.name,
        "place": place,
        "sentence": sentence(ranked.mistake, entries[-1].pictures.unseen),
        "tiles": [
            {
                "title": one.title,
                "address": webp_address(one.image, quality=PICTURE_QUALITY),
                "score": one.score,
            }
            for one in tiles
        ],
        "classes": classes,
    }


def _compared(ranked: PictureRow, entries: Sequence[Entry]) -> tuple[list[Tile], list[Mapping[str, Any]]]:
    """Return the tiles of a picture, that is picture, truth and the labels of each evaluation that kept it, and the legend."""
    last = entries[-1].pictures
    rows = [(one, row) for one in entries if (row := one.pictures.kept(ranked.name)) is not None]
    kept = [read_kept(one.folder, ranked.name) for one, _ in rows]
    maps = [kept[-1].truth, *(one.prediction for one in kept)]
    titles, scores = ["truth", *(one.title for one, _ in rows)], [None, *(row.miou for _, row in rows)]
    tiles = [
        Tile(title, _labelled(kept[-1], ids, len(last.classes), last.colours), score)
        for title, ids, score in zip(titles, maps, scores, strict=True)
    ]
    return [Tile("picture", enlarged(kept[-1].picture), None), *tiles], _legend(maps, last)


def _labelled(
    kept: KeptPicture, ids: UInt8[np.ndarray, "height width"], num_classes: int, colours: Sequence[str]
) -> Image.Image:
    """Return the picture tinted by ids, with each region's id on it."""
    tile = enlarged(tinted(kept.picture, ids, num_classes, TINT, colours))
    return with_numbers(tile, ids, ignored=IGNORE, size=18)


def _legend(maps: Sequence[np.ndarray], pictures: PicturesOfEvaluation) -> list[Mapping[str, Any]]:
    """List the classes on more than a trace of a map, by id, with colour; those of the truth are marked."""
    colours = palette(len(pictures.classes), pictures.colours)
    least = LEGEND_SHARE * maps[0].size
    counts = [np.bincount(ids[ids != IGNORE].ravel(), minlength=len(pictures.classes)) for ids in maps]
    return [
        {
            "id": i,
            "name": name,
            "unseen": name in pictures.unseen,
            "true": bool(counts[0][i]),
            "colour": hex_colour(colours[i]),
        }
        for i, name in enumerate(pictures.classes)
        if counts[0][i] or max(count[i] for count in counts) > least
    ]
