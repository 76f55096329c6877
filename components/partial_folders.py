"""A part of a step's folder, for steps that do not need all of it; it counts as the whole in manifests of later steps."""

import shutil
from collections.abc import Iterable
from pathlib import Path

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
    manifest, hashes = folder / MANIFEST_FILE, {}
    whole = read_json(manifest).get("content_sha256")
    if not isinstance(whole, str):
        raise UserError(
            f"{manifest} is not the manifest of a step; run the step that writes the folder again"
        )
    for name in {MANIFEST_FILE: None, **dict.fromkeys(names)}:
        source, target = folder / name, out / name
        if not source.is_file():
            raise UserError(f"{source} does not exist; run the step that writes it again")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        hashes[name] = sha256(target)
    write_json(out / PART_FILE, Part(content_sha256=whole, files=hashes).model_dump())


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
