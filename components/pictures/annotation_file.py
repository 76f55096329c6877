"""The file of `predict --format`: the label maps of all pictures of a call, in the form that another tool reads."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.exchange.formats import Format
from components.exchange.labelled import About, LabelledPicture
from components.pictures.picture_files import PictureFile
from components.pictures.result_files import Parts, result_files
from components.progress import progress


def check_annotation_file(form: Format, pictures: Sequence[PictureFile], out: Path) -> None:
    """Check, before any picture is segmented, that the file can be written.

    Raises:
        UserError: another file stands there, or a picture's name has letters that no text file can hold.
    """
    form.check(out)
    for picture in pictures:
        if not (name := _file_name(picture)).isprintable():
            raise UserError(f"{name!r} has letters that {form.file} cannot hold; rename the picture")


def write_annotation_file(
    form: Format,
    pictures: Sequence[PictureFile],
    out: Path,
    *,
    about: About,
    failed: Collection[Path],
) -> Path | None:
    """Write the results of pictures below `out`, those of earlier calls among them, and return the file.

    Pictures that failed are left out; without any other the file is not written, and None comes back.

    Raises:
        UserError: the disk is full.
    """
    done = (
        [i for i in range(len(pictures)) if pictures[i].path not in failed]
        if failed
        else range(len(pictures))
    )
    if not done:
        return None

    def labelled() -> Iterator[LabelledPicture]:
        with progress(f"write {form.file}", len(done)) as bar:
            for count, i in enumerate(done, start=1):
                yield _labelled(pictures[i], out)
                bar.advance(count)

    return form.save(out, labelled(), about)


def _labelled(picture: PictureFile, out: Path) -> LabelledPicture:
    files = result_files(out, picture.name, Parts())
    with Image.open(files.label_map, formats=("PNG",)) as label_map:
        ids = np.array(label_map)
    confidence = {area["id"]: area["confidence"] for area in read_json(files.classes)["classes"]}
    return LabelledPicture(_file_name(picture), ids, confidence)


def _file_name(picture: PictureFile) -> str:
    """Return the picture's path relative to the folder that was given: the name of its results, with the suffix."""
    name = PurePosixPath(picture.name)
    return str(name.with_name(picture.path.name))
