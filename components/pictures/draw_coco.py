"""COCO files of a data set of one's own: their pictures by split, and their objects drawn into label maps."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from cascade_core.data.examine import Candidate, Problem
from cascade_core.data.polygons import CocoAnnotation, CocoFile, CocoImage, draw, raw_ids, read_coco
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile
from cascade_core.render.colours import IGNORED_COLOUR, palette
from cascade_core.runtime.files import inside, new_file
from components.progress import progress

MAPS = "label_maps"


Assign = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""Gives the pictures of each split, by name, of those that a file for all splits lists."""


def draw_coco(
    files: Mapping[str, Path],
    own: LabelFile,
    *,
    images: Path,
    assign: Assign,
    other_categories: bool,
    folder: Path,
    out: Path,
    root: Path,
) -> tuple[list[Candidate], list[Problem]]:
    """Draw every picture's objects into a palette PNG below `folder`, which becomes `out`, and give the pairs.

    `files` are by split, or one under "" for all that `assign` names. With `other_categories`, pixels of categories
    that the label file does not know are ignored. Paths are relative to `root`.
    Pixels of no object are background, or ignored where the label file has none. An annotation that cannot be
    drawn is a problem of its picture.

    Raises:
        UserError: a file is none of instances, names other categories, annotates a picture that it does not
            list, or lists one twice; or pixels of no object have no id.
    """
    elsewhere = own.ignore_id if own.background is None else own.background.id
    if elsewhere is None:
        raise UserError(
            "pixels of no object need an id: give the label file a background or an ignore_id, such as 255"
        )
    found: list[Candidate | Problem] = []
    for split, path in files.items():
        coco = read_coco(path)
        ids = _ids(coco, own, path, other_categories=other_categories)
        by_image, pictures = coco.by_image(), _pictures(coco, split, path, images, assign)
        with progress(f"draw {path.name}", len(pictures)) as bar:
            for done, (image, picture, where) in enumerate(pictures, start=1):
                label = f"{MAPS}/{where}/{_bare(image)}.png"
                candidate = Candidate(
                    _bare(image).replace("/", "_"),
                    where,
                    picture,
                    inside(folder, label),
                    picture.relative_to(root).as_posix(),
                    inside(out, label).relative_to(root).as_posix(),
                )
                found.append(_drawn(candidate, image, by_image[image.id], ids, elsewhere, own))
                bar.advance(done)
    candidates = [one for one in found if isinstance(one, Candidate)]
    return candidates, [one for one in found if isinstance(one, Problem)]


def _drawn(
    candidate: Candidate,
    image: CocoImage,
    annotations: Sequence[CocoAnnotation],
    ids: Mapping[int, int],
    elsewhere: int,
    own: LabelFile,
) -> Candidate | Problem:
    """Write the label map of a candidate, or say what is wrong with an annotation."""
    try:
        drawn = draw(image, annotations, ids, elsewhere=elsewhere)
    except UserError as error:
        return Problem(candidate.name, candidate.image, candidate.split, "polygons", str(error))
    _save(Image.fromarray(drawn), candidate.label_path, own)
    return candidate


def _ids(coco: CocoFile, own: LabelFile, path: Path, *, other_categories: bool) -> dict[int, int]:
    """Give the label map id of every category that has annotations."""
    names = {
        name: raw
        for raw, owned in zip(own.ids, own.classes, strict=True)
        for name in (owned.name, *owned.synonyms)
    }
    ids, others = raw_ids(coco.categories, names)
    used = {annotation.category_id for annotation in coco.annotations}
    if unnamed := sorted(used - ids.keys() - others.keys()):
        raise UserError(
            f"{path}: annotations are of categories {unnamed[:10]}, which it does not name; export it anew"
        )
    strange = {category: name for category, name in others.items() if category in used}
    if strange and not other_categories:
        raise UserError(
            f"{path}: categories {', '.join(strange.values())} are not in the label file, which has {', '.join(names)}; "
            "add them (or synonyms) there, or ignore their pixels: --ignore-others"
        )
    if strange and own.ignore_id is None:
        raise UserError("ignored pixels need an id: give the label file an ignore_id, such as 255")
    return ids | {category: own.ignore_id for category in strange if own.ignore_id is not None}


def _pictures(
    coco: CocoFile, split: str, path: Path, images: Path, assign: Assign
) -> list[tuple[CocoImage, Path, str]]:
    """Give the pictures of a file that belong to a split, each with its place and split."""
    counts = Counter(_bare(image) for image in coco.images)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{path} lists picture {repeated[0]} twice; a picture belongs to one split, once")
    known = {image.id for image in coco.images}
    if lost := [one.id for one in coco.annotations if one.image_id not in known]:
        raise UserError(f"{path}: annotations {lost[:10]} are of pictures it does not list; export it anew")
    if split:
        below = [(image, inside(images / split, image.file_name)) for image in coco.images]
        return [
            (image, path if path.is_file() else inside(images, image.file_name), split)
            for image, path in below
        ]
    split_of = {name: chosen for chosen, listed in assign(list(counts)).items() for name in listed}
    chosen = (image for image in coco.images if _bare(image) in split_of)
    return [(image, inside(images, image.file_name), split_of[_bare(image)]) for image in chosen]


def _bare(image: CocoImage) -> str:
    """Give a picture's name: its path without the suffix."""
    return PurePosixPath(image.file_name).with_suffix("").as_posix()


def _save(drawn: Image.Image, target: Path, own: LabelFile) -> None:
    """Write a label map whose palette shows the label file's colours, and other ones where it names none."""
    colours = palette(len(own.classes), [owned.colour for owned in own.classes])
    table = [IGNORED_COLOUR] * 256
    for raw, colour in zip(own.ids, colours.tolist(), strict=True):
        table[raw] = tuple(colour)
    if own.background is not None:
        table[own.background.id] = (0, 0, 0)
    drawn.putpalette([level for colour in table for level in colour])
    with new_file(target) as path:
        drawn.save(path, format="PNG")
