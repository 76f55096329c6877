"""The pictures to segment, from files, folders and patterns, and the name of each picture's results."""

import glob
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from posixpath import splitext
from typing import overload

from cascade_core.data.picture_names import SUFFIXES, is_picture, log_skipped
from cascade_core.errors import UserError
from cascade_core.runtime.walking import check_regular, is_visible, names_below
from cascade_core.shipped.contents import shipped_pictures

NO_PICTURES = "because they are no pictures"
IN_OUT = "because pictures in the output folder are results"


@dataclass(frozen=True)
class PictureFile:
    """A picture, and the name of its results: a relative path without suffix."""

    path: Path
    name: str


class PictureFiles(Sequence[PictureFile]):
    """Any number of pictures in order; a million take about 100 MB, where as many `PictureFile`s take 1 GB."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._folder_of, self._relative = array("L"), list[str]()
        self._with_suffix: set[str] = set()
        self._names: list[str] = []

    def append(self, folder: str, relative: str) -> None:
        """Append the picture at `relative` to a folder."""
        number = self._folders.setdefault(folder, len(self._folders))
        if number == len(self._names):
            self._names.append(folder)
        self._folder_of.append(number)
        self._relative.append(relative)

    def __len__(self) -> int:
        return len(self._relative)

    @overload
    def __getitem__(self, place: int) -> PictureFile: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[PictureFile]: ...
    def __getitem__(self, place: int | slice) -> PictureFile | Sequence[PictureFile]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        relative = self._relative[place]
        stem = splitext(relative)[0]
        return PictureFile(
            Path(self._names[self._folder_of[place]], relative),
            relative if stem in self._with_suffix else stem,
        )

    def name_results(self) -> None:
        """Let pictures of one name that differ in the suffix alone keep it.

        Raises:
            UserError: two pictures of different folders have one name.
        """
        stems: set[str] = set()
        for relative in self._relative:
            stem = splitext(relative)[0]
            if stem in stems:
                self._with_suffix.add(stem)
            stems.add(stem)
        if not self._with_suffix:
            return
        by_name: dict[str, Path] = {}
        for picture in self:
            other = by_name.setdefault(picture.name, picture.path)
            if other != picture.path:
                raise UserError(
                    f"{other} and {picture.path} would write to the same files; give their common folder, or call once "
                    "for each with an --out of its own"
                )


def picture_files(given: Sequence[str | Path], *, out: Path) -> PictureFiles:
    """List the pictures of `listed_pictures`, with a name for the results of each.

    Results are named like the picture, relative to a given folder, without its suffix. Pictures that differ in
    the suffix alone (a.jpg and a.png) keep it.

    Raises:
        UserError: as in `listed_pictures`, or two pictures of different folders have one name.
    """
    pictures = listed_pictures(given, out=out)
    pictures.name_results()
    return pictures


def listed_pictures(given: Sequence[str | Path], *, out: Path | None) -> PictureFiles:
    """List the pictures of all arguments, each once, in order; a folder stands for every picture below it, and
    `examples` for the pictures in the package.

    Folders and patterns stand for files with a picture's suffix; a file given by name may have any. Files in `out` are
    skipped with a warning, unless they are given by name, so that a second call does not segment the results of the
    first.

    Raises:
        UserError: an argument is neither a file nor a folder and matches nothing, there is no picture, or all lie in
            `out`.
    """
    pictures, in_out = PictureFiles(), list[str]()
    several = set[str]() if len(given) > 1 else None
    is_result = _is_below(out)
    for argument in given:
        for folder, relative in _expand(str(argument)):
            path = os.path.join(folder, relative)  # noqa: PTH118 (a Path for each picture takes long)
            if is_result(path) and Path(path) != Path(argument):
                in_out.append(relative)
            elif several is None or path not in several:
                pictures.append(folder, relative)
                if several is not None:
                    several.add(path)
    if in_out and not pictures:
        raise UserError(
            f"all pictures ({len(in_out)}) are in the output folder {out}, whose pictures are results; "
            "choose an --out outside the folder of pictures, or below it"
        )
    if out is not None:
        log_skipped(out, in_out, IN_OUT)
    if not pictures:
        raise UserError(
            f"no picture in {', '.join(map(str, given)) or 'nothing'}; folders are searched for {', '.join(SUFFIXES)}"
        )
    return pictures


def _is_below(out: Path | None) -> Callable[[str], bool]:
    """Return a function that says whether a file's folder is `out` or below it."""
    real = None if out is None else out.resolve()

    @lru_cache(maxsize=1024)
    def folder_is_below(folder: str) -> bool:
        return real is not None and Path(folder).resolve().is_relative_to(real)

    return lambda path: folder_is_below(os.path.dirname(path))  # noqa: PTH120 (a Path for each picture takes long)


def _expand(argument: str) -> Iterator[tuple[str, str]]:
    """Yield the folder of each picture of an argument, and its path relative to that folder."""
    path = shipped_pictures(Path(argument))
    if path.is_file():
        yield str(path.parent), path.name
    elif path.is_dir():
        names = [name for name in names_below(path) if is_visible(name)]
        for name in names:
            if not os.path.isfile(os.path.join(path, name)):  # noqa: PTH113, PTH118
                check_regular(path / name)
        log_skipped(path, [name for name in names if not is_picture(name)], NO_PICTURES)
        yield from ((str(path), name) for name in names if is_picture(name))
    elif path.exists() or path.is_symlink():
        check_regular(path)
    else:
        matches = sorted(map(Path, glob.glob(argument, recursive=True)))  # noqa: PTH207 (absolute too)
        if not matches:
            raise UserError(
                f"{argument}: there is no such file or folder, and no file matches it as a pattern"
            )
        files = [match for match in matches if match.is_file()]
        log_skipped(path, [str(file) for file in files if not is_picture(file.name)], NO_PICTURES)
        yield from ((str(file.parent), file.name) for file in files if is_picture(file.name))
