"""A part of a step's folder, for steps that do not need all of it; it counts as the whole in manifests of later steps."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, sha256, write_json
from cascade_core.runtime.targets import MANIFEST_FILE
from cascade_core.runtime.validation import validated

PART_FILE = "part.json"


class Part(BaseModel):
    """The content hash of the whole folder, and that of each file that the part holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content_sha256: str
    files: dict[str, str]


def copy_part(folder: Path, out: Path, names: Iterable[str]) -> None:
    """Copy these files of a step's folder, and its manifest, into the new folder `out`.

    Raises:
        UserError: a file or the manifest is missing.
    """
    _write_part(folder, out, names, shutil.copyfile)


def move_part(folder: Path, out: Path, names: Iterable[str]) -> None:
    """Move these files of a step's folder into the new folder `out`; otherwise as `copy_part`."""
    _write_part(folder, out, names, shutil.move)


def keep_part(folder: Path, names: Iterable[str]) -> None:
    """Remove all files of a step's folder but these and its manifest, so that it is a part of itself.

    Raises:
        UserError: a file or the manifest is missing.
    """
    kept = {MANIFEST_FILE, *names}
    write_json(folder / PART_FILE, _part(folder, kept).model_dump())
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path.relative_to(folder).as_posix() not in {*kept, PART_FILE}:
            path.unlink()


def _write_part(folder: Path, out: Path, names: Iterable[str], transfer: Callable[[Path, Path], Any]) -> None:
    names = list(dict.fromkeys(names))
    part = _part(folder, [MANIFEST_FILE, *names])
    for name in (MANIFEST_FILE, *names):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copyfile if name == MANIFEST_FILE else transfer)(folder / name, out / name)
    write_json(out / PART_FILE, part.model_dump())


def _part(folder: Path, names: Iterable[str]) -> Part:
    """Return the record of a part of a step's folder."""
    manifest = folder / MANIFEST_FILE
    whole = read_json(manifest).get("content_sha256")
    if not isinstance(whole, str):
        raise UserError(
            f"{manifest} is not the manifest of a step; run the step that writes the folder again"
        )
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} does not exist; run the step that writes it again")
    return Part(content_sha256=whole, files={name: sha256(folder / name) for name in names})


def whole_hash(folder: Path) -> str | None:
    """Return the content hash of the whole folder of which `folder` is an unchanged part; None if it is none.

    Raises:
        UserError: the record of the part is broken.
    """
    file = folder / PART_FILE
    if not file.is_file():
        return None
    part = validated(Part, read_json(file), source=file, way_out="run the step that writes it again")
    intact = all(
        (folder / name).is_file() and sha256(folder / name) == expected
        for name, expected in part.files.items()
    )
    return part.content_sha256 if intact else None
