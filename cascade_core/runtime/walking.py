"""List the files below a folder; links to folders are followed."""

import os
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.runtime.files import system_errors_as_user_errors

MOST_FILES = 10_000_000
"""More files are a mistake, or come from links to folders that multiply the files."""


def files_below(folder: Path) -> list[Path]:
    """List everything below a folder except folders, sorted by path; return an empty list if the folder is missing.

    Links to folders are followed. The list may contain broken links and pipes: check with `check_regular` before reading.

    Raises:
        UserError: as in `names_below`.
    """
    return [folder / name for name in names_below(folder)]


def names_below(folder: Path) -> list[str]:
    """List the same files by their paths relative to the folder, which take far less memory than `Path`s.

    Raises:
        UserError: a folder cannot be listed, a link leads to a folder above it, or there are too many files.
    """
    names: list[str] = []
    folders: list[tuple[str, tuple[str, ...]]] = [("", ())] if folder.is_dir() else []
    while folders:
        prefix, above = folders.pop()
        here = os.path.join(folder, prefix)  # noqa: PTH118 (a Path for each folder takes long)
        real = os.path.realpath(here)
        if real in above:
            raise UserError(f"{Path(here)} is a link to a folder that holds it; remove the link")
        with system_errors_as_user_errors(), os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append((f"{prefix}{entry.name}/", (*above, real)))
                else:
                    names.append(f"{prefix}{entry.name}")
        if len(names) + len(folders) > MOST_FILES:
            raise UserError(f"{folder} holds more than {MOST_FILES:,} files; give a smaller folder")
    names.sort(key=lambda name: name.split("/"))
    return names


def is_visible(name: str) -> bool:
    """Return whether a relative path names no hidden file, and none in a hidden folder."""
    return not name.startswith(".") and "/." not in name


def visible_below(folder: Path) -> dict[str, Path]:
    """List the files below a folder by their paths relative to it, except hidden files and files in hidden folders.

    Raises:
        UserError: as in `names_below`; or one of them is a broken link, a pipe or a device.
    """
    visible = {name: folder / name for name in names_below(folder) if is_visible(name)}
    for path in visible.values():
        check_regular(path)
    return visible


def check_regular(path: Path) -> None:
    """Check that a path is a regular file.

    Raises:
        UserError: the path is a broken link, a pipe or a device.
    """
    if not path.is_file():
        kind = "a link to nothing" if path.is_symlink() else "no regular file"
        raise UserError(f"{path} is {kind}; mend it, or take it out of the folder")
