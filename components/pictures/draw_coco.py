"""COCO annotation files of the user's own data set: their pictures by split, their objects drawn into label maps."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from cascade_core.data.examine import Candidate, Problem
from cascade_core.data.polygons import CocoFile, CocoImage, draw, raw_ids, read_coco
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile
from cascade_core.render.colours import IGNORED_COLOUR, palette
from cascade_core.runtime.files import inside, new_file
from components.progress import progress

MAPS = "label_maps"

Assign = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""A function that takes picture names and returns the names in each split."""


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
    """Draw the objects of every picture into a palette PNG, and return the pairs for the index.

    `files` are annotation files by split, or one file under "" that `assign` splits. With `other_categories`, the
    pixels of categories that the label file lacks are ignored. Pixels of no object become background, or ignored
    if the label file has no background. An annotation that cannot be drawn is a problem of its picture. Paths in the
    index are relative to `root`; label maps are written below `folder`, which is later renamed to `out`.

    Raises:
        UserError: a file is not a COCO instances file, names other categories, annotates a picture that it does
            not list, or lists one twice; or pixels of no object have no id.
    """
    elsewhere = own.ignore_id if own.background is None else own.background.id
    if elsewhere is None:
        raise UserError(
            "pixels of no object need an id: give the label file a background or an ignore_id, such as 255"
        )
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    for split, path in files.items():
        coco = read_coco(path)
        ids = _ids(coco, own, path, other_categories=other_categories)
        annotations, pictures = coco.by_image(), _pictures(coco, split, path, images, assign)
        with progress(f"draw {path.name}", len(pictures)) as bar:
            for done, (image, picture, of_split) in enumerate(pictures, start=1):
                name = _picture_name(image)
                label = f"{MAPS}/{of_split}/{name}.png"
                candidate = Candidate(
                    name.replace("/", "_"),
                    of_split,
                    picture,
                    inside(folder, label),
                    picture.relative_to(root).as_posix(),
                    inside(out, label).relative_to(root).as_posix(),
                )
                try:
                    labels = draw(image, annotations[image.id], ids, elsewhere=elsewhere)
                except UserError as error:
                    problems.append(
                        Problem(candidate.name, candidate.image, of_split, "polygons", str(error))
                    )
                else:
                    _save(Image.fromarray(labels), candidate.label_path, own)
                    candidates.append(candidate)
                bar.advance(done)
    return candidates, problems


def _ids(coco: CocoFile, own: LabelFile, path: Path, *, other_categories: bool) -> dict[int, int]:
    """Map every category that has annotations to its id in label maps."""
    names = {
        name: raw
        for raw, label_class in zip(own.ids, own.classes, strict=True)
        for name in (label_class.name, *label_class.synonyms)
    }
    ids, others = raw_ids(coco.categories, names)
    used = {annotation.category_id for annotation in coco.annotations}
    if unnamed := sorted(used - ids.keys() - others.keys()):
        raise UserError(
            f"{path}: annotations are of categories {unnamed[:10]}, which it does not name; export it anew"
        )
    unknown = {category: name for category, name in others.items() if category in used}
    if unknown and not other_categories:
        raise UserError(
            f"{path}: categories {', '.join(unknown.values())} are not in the label file, which has {', '.join(names)}; "
            "add them (or synonyms) there, or ignore their pixels: --ignore-others"
        )
    if unknown and own.ignore_id is None:
        raise UserError("ignored pixels need an id: give the label file an ignore_id, such as 255")
    return ids | {category: own.ignore_id for category in unknown if own.ignore_id is not None}


def _pictures(
    coco: CocoFile, split: str, path: Path, images: Path, assign: Assign
) -> list[tuple[CocoImage, Path, str]]:
    """List the pictures of a file that belong to a split, each with its path and split."""
    counts = Counter(_picture_name(image) for image in coco.images)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{path} lists picture {repeated[0]} twice; a picture belongs to one split, once")
    listed = {image.id for image in coco.images}
    if unlisted := [item.id for item in coco.annotations if item.image_id not in listed]:
        raise UserError(
            f"{path}: annotations {unlisted[:10]} are of pictures it does not list; export it anew"
        )
    if split:
        below = [(image, inside(images / split, image.file_name)) for image in coco.images]
        return [
            (image, path if path.is_file() else inside(images, image.file_name), split)
            for image, path in below
        ]
    split_of = {name: part for part, names in assign(list(counts)).items() for name in names}
    return [
        (image, inside(images, image.file_name), split_of[_picture_name(image)])
        for image in coco.images
        if _picture_name(image) in split_of
    ]


def _picture_name(image: CocoImage) -> str:
    """Return a picture's name: its path without the suffix."""
    return PurePosixPath(image.file_name).with_suffix("").as_posix()


def _save(label_map: Image.Image, target: Path, own: LabelFile) -> None:
    """Write a label map with a palette of the label file's colours; classes without a colour get another one."""
    colours = palette(len(own.classes), [label_class.colour for label_class in own.classes])
    table = [IGNORED_COLOUR] * 256
    for raw, colour in zip(own.ids, colours.tolist(), strict=True):
        table[raw] = tuple(colour)
    if own.background is not None:
        table[own.background.id] = (0, 0, 0)
    label_map.putpalette([level for colour in table for level in colour])
    with new_file(target) as path:
        label_map.save(path, format="PNG")
