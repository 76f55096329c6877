"""One scene as a picture for the README: picture, truth and each method's prediction, in colours that everybody distinguishes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.render.numbers import with_numbers
from cascade_core.render.visualise import enlarged, tinted
from cascade_core.runtime.files import read_json
from components.results.names import SCORES_FILE
from components.results.picture_files import KeptPicture, PicturesOfEvaluation, read_kept, read_pictures
from components.results.picture_sheet import sheet

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Okabe and Ito's colours: colour-blind people distinguish them, too."""
LEAST_UNSEEN, LEAST_CLASSES = 2, 4
"""A scene reads well with so many unseen classes and so many classes in its truth ..."""
LEAST_SHARE = 0.04
"""... each on at least this share of the pixels, and with at most as many classes on all maps as there are colours."""
TRACE = 0.002
"""Classes on a smaller share of a map do not count, and are not in the legend."""
TINT, SIDE, NUMBER = 0.8, 256, 20


@dataclass(frozen=True)
class Method:
    """A method's evaluation: its name for people, its folder, and the scores of its pictures."""

    name: str
    folder: Path
    pictures: PicturesOfEvaluation

    def miou(self, name: str) -> float | None:
        """Return the mean IoU of a kept picture; None if there is none of this name, or nothing to score in it."""
        row = self.pictures.kept(name)
        return None if row is None else row.miou


@dataclass(frozen=True)
class Scene:
    """A picture with its truth and each method's prediction, in the methods' order."""

    name: str
    picture: UInt8[np.ndarray, "height width 3"]
    maps: dict[str, UInt8[np.ndarray, "height width"]]

    def classes(self) -> list[int]:
        """Return the ids on more than a trace of a map, ascending."""
        ids: set[int] = set()
        for labels in self.maps.values():
            counts = np.bincount(labels[labels != IGNORE].ravel(), minlength=1)
            ids |= set(np.flatnonzero(counts > TRACE * labels.size).tolist())
        return sorted(ids)


def methods_of(evaluations: Sequence[Path]) -> list[Method]:
    """Read the folders of evaluate steps.

    Raises:
        UserError: there is none, one has no scores of single pictures, or they are of different classes.
    """
    methods = []
    for folder in evaluations:
        pictures = read_pictures(folder)
        if pictures is None:
            raise UserError(f"{folder} has no pictures.json; run the evaluate step again")
        method = str(read_json(folder / SCORES_FILE).get("method"))
        methods.append(Method(METHOD_NAMES.get(method, method), folder, pictures))
    if not methods:
        raise UserError(
            "no evaluation was given; name at least one: --evaluation outputs/evaluate/zegclip-inductive"
        )
    if len({one.pictures.classes for one in methods}) > 1:
        raise UserError("the evaluations are of different classes; give evaluations of one protocol")
    return methods


def typical_scene(methods: Sequence[Method]) -> Scene:
    """Return the scene that reads well and whose mean IoU under each method is closest to that method's mean over pictures.

    So no method looks better than it is. Of equal scenes the first name wins.

    Raises:
        UserError: no scene reads well.
    """
    means = [fmean(row.miou for row in one.pictures.pictures if row.miou is not None) for one in methods]

    def distance(name: str) -> float | None:
        scores = [one.miou(name) for one in methods]
        pairs = [(score, mean) for score, mean in zip(scores, means, strict=True) if score is not None]
        return sum(abs(score - mean) for score, mean in pairs) if len(pairs) == len(methods) else None

    names = [row.name for row in methods[0].pictures.pictures]
    ranked = sorted((far, name) for name in names if (far := distance(name)) is not None)
    for _, name in ranked:
        scene = scene_of(methods, name)
        if _reads_well(scene, methods[0].pictures):
            return scene
    raise UserError(
        f"no scene has {LEAST_CLASSES} classes, {LEAST_UNSEEN} of them unseen, that are large enough; "
        "choose one: --picture NAME"
    )


def scene_of(methods: Sequence[Method], name: str) -> Scene:
    """Read a scene that all evaluations kept.

    Raises:
        UserError: an evaluation did not keep it, or the scene has more classes than there are colours.
    """
    kept: list[KeptPicture] = [read_kept(one.folder, name) for one in methods]
    predictions = {one.name: picture.prediction for one, picture in zip(methods, kept, strict=True)}
    return Scene(name, kept[0].picture, {"truth": kept[0].truth, **predictions})


def draw(scene: Scene, pictures: PicturesOfEvaluation) -> Image.Image:
    """Draw picture, truth and predictions in a row above a legend; regions carry the number of their class.

    Numbers count the classes of the scene from 1.

    Raises:
        UserError: the scene has more classes than there are colours.
    """
    present = scene.classes()
    if len(present) > len(COLOURS):
        raise UserError(
            f"picture {scene.name!r} has {len(present)} classes on its maps, and only {len(COLOURS)} colours are "
            "distinguished by everybody; choose another one"
        )
    # Unseen classes first; ids become places from 1, and traces of other classes stay untinted.
    ordered = sorted(present, key=lambda i: (pictures.classes[i] not in pictures.unseen, i))
    places = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
    places[ordered] = np.arange(1, len(ordered) + 1)
    colours = ["#000000", *COLOURS[: len(ordered)]]
    tiles = {"picture": enlarged(scene.picture, SIDE)}
    for title, labels in scene.maps.items():
        ids = places[labels]
        tint = tinted(scene.picture, ids, len(colours), TINT, colours)
        tiles[title] = with_numbers(enlarged(tint, SIDE), ids, ignored=IGNORE, size=NUMBER)
    names = [
        f"{place} {pictures.classes[i]}{' (unseen)' if pictures.classes[i] in pictures.unseen else ''}"
        for place, i in enumerate(ordered, start=1)
    ]
    return sheet(tiles, list(zip(names, colours[1:], strict=True)))


def _reads_well(scene: Scene, pictures: PicturesOfEvaluation) -> bool:
    truth = scene.maps["truth"]
    counts = np.bincount(truth[truth != IGNORE].ravel(), minlength=len(pictures.classes))
    present = np.flatnonzero(counts)
    unseen = [i for i in present if pictures.classes[i] in pictures.unseen]
    return (
        len(present) >= LEAST_CLASSES
        and len(unseen) >= LEAST_UNSEEN
        and bool((counts[present] >= LEAST_SHARE * truth.size).all())
        and len(scene.classes()) <= len(COLOURS)
    )
