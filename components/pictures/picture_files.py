"""The pictures to segment, from files, folders and patterns, and the name of each picture's results."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cascade_core.data.picture_names import SUFFIXES, is_picture, log_skipped
from cascade_core.errors import UserError
from cascade_core.runtime.walking import check_regular, visible_below
from cascade_core.shipped.contents import shipped_pictures

NO_PICTURES = "because they are no pictures"
IN_OUT = "because pictures in the output folder are results"


@dataclass(frozen=True)
class PictureFile:
    """A picture, and the name of its results: a relative path without suffix."""

    path: Path
    name: str


def picture_files(given: Sequence[str | Path], *, out: Path) -> list[PictureFile]:
    """List the pictures of all arguments, each once, in order; a folder stands for every picture below it, and
    `examples` for the pictures in the package.

    Folders and patterns stand for files with a picture's suffix; a file given by name may have any.

    Results are named like the picture, relative to a given folder, without its suffix. Pictures that differ in
    the suffix alone (a.jpg and a.png) keep it. Files in `out` are skipped with a warning, unless they are given by
    name, so that a second call does not segment the results of the first.

    Raises:
        UserError: an argument is neither a file nor a folder and matches nothing, there is no picture, all lie in `out`,
            or two pictures of different folders have one name.
    """
    pictures: dict[Path, PurePosixPath] = {}
    in_out: list[str] = []
    for argument in given:
        for path, relative in _expand(str(argument)):
            if path != Path(argument) and path.resolve().is_relative_to(out.resolve()):
                in_out.append(str(relative))
            else:
                pictures.setdefault(path, relative)
    if in_out and not pictures:
        raise UserError(
            f"all pictures ({len(in_out)}) are in the output folder {out}, whose pictures are results; "
            "choose an --out outside the folder of pictures, or below it"
        )
    log_skipped(out, in_out, IN_OUT)
    if not pictures:
        raise UserError(
            f"no picture in {', '.join(map(str, given)) or 'nothing'}; folders are searched for {', '.join(SUFFIXES)}"
        )
    return _with_names(pictures)


def _expand(argument: str) -> Iterator[tuple[Path, PurePosixPath]]:
    """Yield the pictures of an argument, each with its path relative to a given folder."""
    path = shipped_pictures(Path(argument))
    if path.is_file():
        yield path, PurePosixPath(path.name)
    elif path.is_dir():
        files = visible_below(path)
        log_skipped(path, [name for name in files if not is_picture(name)], NO_PICTURES)
        yield from ((file, PurePosixPath(name)) for name, file in files.items() if is_picture(name))
    elif path.exists() or path.is_symlink():
        check_regular(path)
    else:
        matches = sorted(map(Path, glob.glob(argument, recursive=True)))  # noqa: PTH207 (absolute too)
        if not matches:
            raise UserError(
                f"{argument}: there is no such file or folder, and no file matches it as a pattern"
            )
        files = {str(match): match for match in matches if match.is_file()}
        log_skipped(path, [name for name in files if not is_picture(name)], NO_PICTURES)
        yield from ((file, PurePosixPath(file.name)) for name, file in files.items() if is_picture(name))


def _with_names(pictures: dict[Path, PurePosixPath]) -> list[PictureFile]:
    stems = Counter(relative.with_suffix("") for relative in pictures.values())
    by_name: dict[PurePosixPath, Path] = {}
    for path, relative in pictures.items():
        stem = relative.with_suffix("")
        other = by_name.setdefault(relative if stems[stem] > 1 else stem, path)
        if other != path:
            raise UserError(
                f"{other} and {path} would write to the same files; give their common folder, or call once "
                "for each with an --out of its own"
            )
    return [PictureFile(path, str(name)) for name, path in by_name.items()]
