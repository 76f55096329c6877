"""Which pictures a prediction is asked for: files, folders and patterns, each with a name for its results."""

import glob
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cascade_core.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What a folder is searched for; a file that is named is taken whatever it is called."""


@dataclass(frozen=True)
class PictureFile:
    """A picture, and the name (a relative path without ending) below which its results are written."""

    path: Path
    name: str


def picture_files(given: Sequence[str | Path], *, out: Path) -> list[PictureFile]:
    """List the pictures that arguments stand for, each once, in their order; folders with all below them.

    Results are named as the picture without its ending, below its folder where a folder was given. Where that
    names two pictures alike (a.jpg and a.png), they keep their endings. What lies in `out` is no picture, so
    that a second call does not segment the results of the first.

    Raises:
        UserError: an argument is no file, no folder and matches nothing, there is no picture in any, or two
            pictures of different folders have one name.
    """
    found: dict[Path, PurePosixPath] = {}
    for argument in given:
        for path, relative in _expanded(str(argument)):
            if not path.resolve().is_relative_to(out.resolve()):
                found.setdefault(path, relative)
    if not found:
        raise UserError(
            f"no picture in {', '.join(map(str, given)) or 'nothing'}; folders are searched for {', '.join(SUFFIXES)}"
        )
    return _named(found)


def _expanded(argument: str) -> list[tuple[Path, PurePosixPath]]:
    path = Path(argument)
    if path.is_file():
        return [(path, PurePosixPath(path.name))]
    if path.is_dir():
        below = [(one, PurePosixPath(one.relative_to(path).as_posix())) for one in sorted(path.rglob("*"))]
        return [
            (one, relative)
            for one, relative in below
            if _is_picture(one) and not any(part.startswith(".") for part in relative.parts)
        ]
    matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 (absolute too)
    if not matches:
        raise UserError(f"{argument}: there is no such file or folder, and no file matches it as a pattern")
    return [(match, PurePosixPath(match.name)) for match in matches if _is_picture(match)]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _named(found: dict[Path, PurePosixPath]) -> list[PictureFile]:
    stems = Counter(relative.with_suffix("") for relative in found.values())
    names = {
        path: relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")
        for path, relative in found.items()
    }
    taken: dict[PurePosixPath, Path] = {}
    for path, name in names.items():
        if (other := taken.setdefault(name, path)) != path:
            raise UserError(
                f"{other} and {path} would write to the same files; give their common folder, or call once "
                "for each with an --out of its own"
            )
    return [PictureFile(path, str(name)) for path, name in names.items()]
