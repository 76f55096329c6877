"""Write and read the manifest of a step's folder: step, inputs, parameters, commit and packages.

A manifest holds no times and only relative paths: the same inputs give the same bytes, and a moved tree still reads.
"""

import hashlib
import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, sha256, write_json
from cascade_core.runtime.formats import FORMAT, read_manifest
from cascade_core.runtime.targets import MANIFEST_FILE
from cascade_core.runtime.validation import validated
from cascade_core.runtime.walking import files_below
from components.artifacts.partial_folders import whole_hash

log = logging.getLogger(__name__)

TRACKING_FILE = "tracking.json"
"""This file holds what could not be logged because the MLflow store was away; it is no part of the content hash."""

COMMIT_VARIABLE = "CASCADE_COMMIT"
"""This environment variable names the commit of code that runs without its repository, as in an image."""

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "safetensors", "cascade-clip-workflow")


class InputRecord(BaseModel):
    """One input of a step: its path, relative to the step's folder, and its content hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str


class StepManifest(BaseModel):
    """The provenance of a step's folder; `content_sha256` covers all its files but this one, `tracking.json` and hidden ones."""

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
    commit: str | None = None,
) -> StepManifest:
    """Write `manifest.json` into a step's folder, and return it; write all other files first.

    `hashes` holds the inputs' content hashes that are known already, such as that of a data set; `commit` is that of the code
    when the step began, or that of now if left out.

    Raises:
        UserError: an input does not exist.
    """
    hashes = hashes or {}
    manifest = StepManifest(
        step=step,
        content_sha256=_content_hash(folder),
        inputs={
            name: InputRecord(
                path=relative_path(path, folder),
                sha256=hashes.get(name) or input_hash(path),
            )
            for name, path in inputs.items()
        },
        parameters=dict(parameters),
        commit=commit or git_commit(),
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _installed_version(name))},
    )
    write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest


def relative_path(path: Path, folder: Path) -> str:
    """Return the path of an input as the manifest of a folder names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def read_step_manifest(folder: Path) -> StepManifest:
    """Read the manifest of a step's folder.

    Raises:
        UserError: the manifest is missing, is not JSON, has a later format, or is not that of a step.
    """
    file = folder / MANIFEST_FILE
    return validated(
        StepManifest, read_manifest(file), source=file, way_out="run the step that writes it again"
    )


def input_hash(path: Path) -> str:
    """Return the content hash of a file or folder as it is now.

    A step's manifest is not part of the hash: equal content has equal hashes. A part of a folder counts as the whole. If the hash differs from the one
    in the folder's manifest, log a warning and return the hash of the present files, which the step uses.

    Raises:
        UserError: the file or folder does not exist.
    """
    if not path.exists():
        raise UserError(f"input {path} does not exist; run the step that writes it first")
    if not path.is_dir():
        return sha256(path)
    if (whole := whole_hash(path)) is not None:
        return whole
    content, file = _content_hash(path), path / MANIFEST_FILE
    recorded = read_json(file).get("content_sha256") if file.is_file() else None
    if isinstance(recorded, str) and content != recorded:
        log.warning(
            "%s: files were changed since the step that wrote them; manifests of later steps record the present "
            "files (%s, not %s)",
            path,
            content[:12],
            recorded[:12],
        )
    return content


def data_hash(prepared: Path) -> str:
    """Return the hash of a prepared data set, over names, splits, pictures and label maps of its index.

    Raises:
        UserError: the folder is not that of a prepare step.
    """
    manifest = read_step_manifest(prepared)
    if "raw" not in manifest.inputs:
        raise UserError(
            f"{prepared / MANIFEST_FILE}: step {manifest.step!r} has no input 'raw'; "
            "give the folder of the prepare step"
        )
    return manifest.inputs["raw"].sha256


def git_commit() -> str | None:
    """Return the commit of the running code, with "-dirty" if files were changed.

    `CASCADE_COMMIT` comes before the repository; None if there is neither. A repository around an installed package is
    another project's. The answer stays that of the first call: what this process writes into the repository later is not its code.
    """
    if commit := os.environ.get(COMMIT_VARIABLE):
        return commit
    try:
        return commit_around(Path(__file__))
    except (OSError, subprocess.TimeoutExpired):
        return None  # of this call: git may answer the next one


@cache
def commit_around(file: Path) -> str | None:
    """Return the commit of the repository that holds a file; None if none does."""
    try:
        _git("ls-files", "--error-unmatch", file.name, folder=file.parent)
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*", folder=file.parent)
    except subprocess.CalledProcessError:
        return None


def _git(*arguments: str, folder: Path) -> str:
    command = ["git", *arguments]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return printed.stdout.strip()


def _content_hash(folder: Path) -> str:
    """Hash names and contents of a folder's files, except manifest, `tracking.json` and hidden files."""
    digest = hashlib.sha256()
    for path in filter(Path.is_file, files_below(folder)):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if name.as_posix() not in (MANIFEST_FILE, TRACKING_FILE) and not hidden:
            digest.update(f"{name.as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
