"""The file of `predict --gather --format`: the label maps of all shards, in the form that another tool reads.

One label map and some rows of the table are in memory at a time, however many pictures there are.
"""

import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from posixpath import dirname
from typing import Any

import numpy as np
from PIL import Image

from cascade_core.errors import UserError
from components.bulk.plan import Plan
from components.bulk.sources import MEMBER
from components.bulk.table import parts_of
from components.exchange.formats import Format
from components.exchange.labelled import About, LabelledPicture
from components.progress import progress
from components.storage.places import in_store
from components.storage.result_folder import ResultFolder

ROWS = 64
"""Rows that become Python objects at a time."""


@dataclass(frozen=True)
class Names:
    """The names of pictures in the file: relative to the innermost folder (or prefix in a store) that has all of them."""

    folder: str

    @classmethod
    def of_all(cls, addresses: Iterator[str]) -> "Names":
        """Return the names for the pictures at these addresses.

        Raises:
            UserError: no folder has all of them, or a name has letters that no text file can hold.
        """
        folder: str | None = None
        first = before = ""
        for address in addresses:
            if not address.isprintable():
                raise UserError(f"{address!r} has letters that no text file can hold; rename the picture")
            if (parent := dirname(_path(address))) == before:
                continue
            if folder is None:
                first, folder = address, parent
            before = parent
            while not _is_below(parent, folder):
                if folder == dirname(folder) or (in_store(folder) and folder.count("/") == 2):
                    raise UserError(
                        f"no folder has both {first} and {address}, and --format names pictures relative to one; label "
                        "pictures of each place by a list of their own"
                    )
                folder = dirname(folder)
        return cls(folder or "")

    def of(self, address: str) -> str:
        """Return a picture's name."""
        return _path(address).removeprefix(f"{self.folder.rstrip('/')}/")


def _path(address: str) -> str:
    """Return an address as a path; a tar stands for a folder of its name."""
    if in_store(address):
        return address
    return os.path.abspath(address.replace(MEMBER, "/", 1))  # noqa: PTH100 (a Path for each picture takes long)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def write(form: Format, table: Path, out: ResultFolder, plan: Plan, *, pictures: int) -> str | None:
    """Write the label maps of a joined table's `pictures` without an error, and return the folder that names are relative to.

    Without any such picture the file is not written, and None comes back.

    Raises:
        UserError: as of `Names.of_all`; another file stands there; or a tar of label maps is missing or damaged.
    """
    names = Names.of_all(
        address for part in parts_of(table, columns=["picture"]) for address in part.column(0).to_pylist()
    )
    if not pictures:
        return None
    about = About(tuple(plan.request["labels"]), plan.request["model"])

    def labelled() -> Iterator[LabelledPicture]:
        with progress(f"write {form.file}", pictures) as bar:
            for count, picture in enumerate(_labelled(table, out, names), start=1):
                yield picture
                bar.advance(count)

    with out.new(form.file, begins=form.begins) as path, path.open("w", encoding="utf-8") as stream:
        form.write(stream, labelled(), about)
    return names.folder


def _labelled(table: Path, out: ResultFolder, names: Names) -> Iterator[LabelledPicture]:
    rows = (
        row
        for part in parts_of(table, columns=["picture", "classes", "label_map"])
        for batch in part.to_batches(max_chunksize=ROWS)
        for row in batch.to_pylist()
        if row["label_map"] is not None
    )
    for tar, of_tar in groupby(rows, key=lambda row: row["label_map"].partition("#")[0]):
        with out.local(tar) as path:
            for row in of_tar:
                confidence = {area["id"]: area["confidence"] for area in row["classes"]}
                yield LabelledPicture(names.of(row["picture"]), _label_map(path, row, out), confidence)


def _label_map(tar: Path, row: Mapping[str, Any], out: ResultFolder) -> np.ndarray:
    name, _, member = row["label_map"].partition("#")
    try:
        with (
            tarfile.open(tar, "r:") as archive,
            archive.extractfile(member) as stream,  # type: ignore[union-attr]
            Image.open(stream, formats=("PNG",)) as label_map,
        ):
            return np.array(label_map)
    except (OSError, KeyError, SyntaxError, ValueError, tarfile.TarError) as error:
        raise UserError(
            f"{out}/{row['label_map']} is missing or damaged ({error}); remove {name}, and call `cascade-clip predict` for "
            "all shards again, which keeps what is finished"
        ) from error
