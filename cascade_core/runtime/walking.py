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
        UserError: a folder cannot be listed, a link leads to a folder above it, or there are too many files.
    """
    files: list[Path] = []
    folders: list[tuple[Path, tuple[str, ...]]] = [(folder, ())] if folder.is_dir() else []
    while folders:
        here, above = folders.pop()
        real = os.path.realpath(here)
        if real in above:
            raise UserError(f"{here} is a link to a folder that holds it; remove the link")
        with system_errors_as_user_errors(), os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append((here / entry.name, (*above, real)))
                else:
                    files.append(here / entry.name)
        if len(files) + len(folders) > MOST_FILES:
            raise UserError(f"{folder} holds more than {MOST_FILES:,} files; give a smaller folder")
    return sorted(files)


def visible_below(folder: Path) -> dict[str, Path]:
    """List the files below a folder by their paths relative to it, except hidden files and files in hidden folders.

    Raises:
        UserError: as in `files_below`; or one of them is a broken link, a pipe or a device.
    """
    named = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    visible = {
        name: path for name, path in named.items() if not any(part[0] == "." for part in name.split("/"))
    }
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
