"""Files of objects of the user's own data set: their pictures by split, their objects drawn into label maps."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cascade_core.data.examine import Candidate, Problem
from cascade_core.data.picture_names import bare, by_name, comparable, is_picture, log_skipped
from cascade_core.data.pictures import upright_size
from cascade_core.data.polygons import CocoAnnotation, CocoFile, CocoImage, draw, raw_ids
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile
from cascade_core.runtime.files import inside
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.walking import visible_below
from components.exchange.reading import read_objects
from components.pictures.label_maps import MAPS, save_label_map
from components.progress import progress

log = logging.getLogger(__name__)

Assign = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""A function that takes picture names and returns the names in each split."""


def draw_objects(
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
        UserError: a file is none of `read_objects`, names other categories, annotates a picture that it does
            not list, or lists one twice; or pixels of no object have no id.
    """
    elsewhere = own.ignore_id if own.background is None else own.background.id
    if elsewhere is None:
        raise UserError(
            "pixels of no object need an id: give the label file a background or an ignore_id, such as 255"
        )
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    too_small: list[str] = []
    paths, listed = by_name(visible_below(images), comparable), set()
    for split, path in files.items():
        coco = read_objects(path, images)
        ids = _ids(coco, own, path, other_categories=other_categories)
        annotations, pictures = coco.by_image(), _pictures(coco, split, path, images, paths, assign)
        with progress(f"draw {path.name}", len(pictures)) as bar:
            for done, (image, picture, of_split) in enumerate(pictures, start=1):
                listed.add(picture)
                name = bare(image.file_name)
                label = f"{MAPS}/{of_split}/{name}.png"
                candidate = Candidate(
                    name.replace("/", "_"),
                    of_split,
                    picture,
                    inside(folder, label),
                    picture.relative_to(root).as_posix(),
                    inside(out, label).relative_to(root).as_posix(),
                )
                problem = _draw(candidate, image, annotations[image.id], ids, elsewhere, own, too_small)
                if problem is None:
                    candidates.append(candidate)
                else:
                    problems.append(problem)
                bar.advance(done)
    if too_small:
        log.warning(
            "%d objects are not in the label maps, because they are too small to cover the centre of a pixel: %s; draw them "
            "larger, or remove them",
            len(too_small),
            short_list(too_small, most=5),
        )
    unlisted = [
        name for names in paths.values() for name in names if is_picture(name) and images / name not in listed
    ]
    log_skipped(images, unlisted, "because no file of objects or split lists them")
    return candidates, problems


def _draw(
    candidate: Candidate,
    image: CocoImage,
    annotations: Sequence[CocoAnnotation],
    ids: Mapping[int, int],
    elsewhere: int,
    own: LabelFile,
    too_small: list[str],
) -> Problem | None:
    """Write the label map of a candidate, or return the problem of its size or of an annotation.

    `too_small` takes a text on each object without a pixel.
    """
    problem = partial(Problem, candidate.name, candidate.image, candidate.split)
    if not candidate.image_path.is_file():
        return None  # The check of the candidates reports it.
    try:
        size = upright_size(candidate.image_path, candidate.image)
    except UserError as error:
        return problem("unreadable", str(error))
    # Compare first, because the stated size decides how much memory the label map takes.
    if (image.width, image.height) not in (size, size[::-1]):
        stated = f"{image.width}x{image.height}"
        return problem(
            "size",
            f"{candidate.image}: is {size[0]}x{size[1]}, its file of objects says {stated}; export it anew",
        )
    try:
        label_map = draw(
            image,
            annotations,
            ids,
            elsewhere=elsewhere,
            too_small=lambda item: too_small.append(f"annotation {item.id} of {image.file_name}"),
        )
    except UserError as error:
        return problem("polygons", str(error))
    save_label_map(label_map, candidate.label_path, own)
    return None


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
    coco: CocoFile,
    split: str,
    path: Path,
    images: Path,
    paths: Mapping[str, Sequence[str]],
    assign: Assign,
) -> list[tuple[CocoImage, Path, str]]:
    """List the pictures of a file that belong to a split, each with its path and split.

    `paths` are the files below the folder of pictures, grouped by their comparable names.
    """
    listed = {image.id for image in coco.images}
    if unlisted := [item.id for item in coco.annotations if item.image_id not in listed]:
        raise UserError(
            f"{path}: annotations {unlisted[:10]} are of pictures it does not list; export it anew"
        )

    def path_of(image: CocoImage) -> Path:
        inside(images, image.file_name)
        names = [image.file_name] if not split else [f"{split}/{image.file_name}", image.file_name]
        alike = next(filter(None, (paths.get(comparable(name)) for name in names)), [image.file_name])
        if len(alike) > 1:
            raise UserError(f"{images}: {' and '.join(alike)} stand for one name; keep one of them")
        return images / alike[0]

    if split:
        return [(image, path_of(image), split) for image in coco.images]
    names = [bare(image.file_name) for image in coco.images]
    split_of = {name: part for part, members in assign(names).items() for name in members}
    return [
        (image, path_of(image), split_of[name])
        for image, name in zip(coco.images, names, strict=True)
        if name in split_of
    ]
