"""The manifest beside each step's files: which step, from what inputs, with which parameters, code and packages.

Nothing in it depends on when or where a step ran: no times, and paths relative to the folder itself, so that
the same inputs give the same bytes and a moved tree still reads.
"""

import hashlib
import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, sha256, write_json
from cascade_core.runtime.formats import FORMAT, read_manifest
from cascade_core.runtime.validation import validated

log = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.json"
TRACKING_FILE = "tracking.json"
"""What the MLflow store lacks of a step that it was away from: about when and where, and so no content of the folder."""

COMMIT_VARIABLE = "CASCADE_COMMIT"
"""Names the commit where the code runs without its repository, as in an image."""

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "safetensors", "cascade-clip-workflow")


class InputRecord(BaseModel):
    """One input of a step: its path relative to the step's folder, and the hash of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str


class StepManifest(BaseModel):
    """What a step's folder was made from; `content_sha256` covers every other file in it but hidden ones and `tracking.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    step: str
    content_sha256: str
    inputs: dict[str, InputRecord]
    parameters: dict[str, Any]
    commit: str | None
    python: str
    packages: dict[str, str]


def write_manifest(
    folder: Path,
    *,
    step: str,
    inputs: Mapping[str, Path],
    parameters: Mapping[str, Any],
    hashes: Mapping[str, str] | None = None,
) -> StepManifest:
    """Write `manifest.json` into a step's folder, after all its other files, and return it.

    `hashes` gives those of inputs that are known already, such as a data set hashed file by file.

    Raises:
        UserError: an input does not exist.
    """
    known = hashes or {}
    manifest = StepManifest(
        step=step,
        content_sha256=_content_hash(folder),
        inputs={
            name: InputRecord(
                path=Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix(),
                sha256=known.get(name) or input_hash(path),
            )
            for name, path in inputs.items()
        },
        parameters=dict(parameters),
        commit=git_commit(),
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _installed(name))},
    )
    write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest


def read_step_manifest(folder: Path) -> StepManifest:
    """Read the manifest of a step's folder.

    Raises:
        UserError: it is missing, no JSON, of a later format, or not a step's manifest.
    """
    file = folder / MANIFEST_FILE
    return validated(
        StepManifest, read_manifest(file), source=file, way_out="run the step that writes it again"
    )


def input_hash(path: Path) -> str:
    """Give the content hash of an input, of its files as they are now.

    A step's manifest is no part of its hash, so equal content has equal hashes whoever made it, and where. Where the
    files differ from what the manifest beside them records, a warning says so: a record that follows what was used
    is worth more than one that follows what was once written.

    Raises:
        UserError: there is no such file or folder.
    """
    if not path.exists():
        raise UserError(f"input {path} does not exist; run the step that writes it first")
    recorded = (
        read_json(path / MANIFEST_FILE).get("content_sha256") if (path / MANIFEST_FILE).is_file() else None
    )
    if not isinstance(recorded, str):
        return _content_hash(path) if path.is_dir() else sha256(path)
    found = _content_hash(path)
    if found != recorded:
        log.warning(
            "%s: files were changed since the step that wrote them; what is made of them records them as they are now "
            "(%s, not %s)",
            path,
            found[:12],
            recorded[:12],
        )
    return found


def data_hash(prepared: Path) -> str:
    """Give the hash of a prepared data set: of the names, splits, pictures and label maps of its index.

    Raises:
        UserError: the folder is not that of a prepare step.
    """
    return _input_of(prepared, "raw").sha256


def git_commit() -> str | None:
    """Give the commit of the code that runs, with "-dirty" for changed files, or what an image was built from.

    None where neither the variable nor a repository tells.
    """
    if commit := os.environ.get(COMMIT_VARIABLE):
        return commit
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def _content_hash(folder: Path) -> str:
    """Hash names and contents of a folder but for its manifest, `tracking.json` and hidden files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if name.as_posix() not in (MANIFEST_FILE, TRACKING_FILE) and not hidden:
            digest.update(f"{name.as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _input_of(folder: Path, name: str) -> InputRecord:
    manifest = read_step_manifest(folder)
    if name not in manifest.inputs:
        raise UserError(
            f"{folder / MANIFEST_FILE}: step {manifest.step!r} has no input {name!r}; "
            "give the folder of the prepare step"
        )
    return manifest.inputs[name]


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
