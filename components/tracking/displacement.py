"""A store in a sqlite file that was moved or copied: its database still names the earlier folder of its files.

MLflow keeps the whole address of each run's and model's files in the database, so a store in another folder, or seen from
a container, finds no files; a copy would read, and remove, those of the store that it was made from.
"""

import logging
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cascade_core.errors import UserError
from components.servers.paging import all_of
from components.tracking.store import open_existing_store, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

log = logging.getLogger(__name__)

ARTIFACTS = "artifacts"
"""The folder of the files, beside the sqlite file."""
COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""The tables and columns of MLflow's database that hold addresses of files."""


@dataclass(frozen=True)
class Displacement:
    """A moved or copied store: its sqlite file, and the addresses of its files that are not beside it."""

    file: Path
    addresses: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder where the files should be."""
        return self.file.parent / ARTIFACTS

    def __str__(self) -> str:
        there = ", ".join(str(_path(address)) for address in self.addresses)
        move = "" if self.folder.is_dir() else f"put the files into {self.folder}, and "
        return (
            f"the MLflow store {self.file} was moved or copied, and names files of its runs and models in {there}; "
            f"{move}run `cascade-clip relocate` in its project's folder, or move the store back"
        )


def artifact_location(file: Path) -> str:
    """Return the address of the folder for the files of a store in a sqlite file."""
    return (file.parent / ARTIFACTS).as_uri()


def displacement(client: "MlflowClient") -> Displacement | None:
    """Return what is known of a moved or copied store; None for one in its place, and for stores that are no sqlite file."""
    if sqlite_file(client.tracking_uri) is None:
        return None
    return _displacement(client, all_of(lambda token: client.search_experiments(page_token=token)))


def check_place(client: "MlflowClient", experiment: "Experiment | None" = None) -> None:
    """Check that the files of an experiment, or else of the whole store, are where the store is.

    Raises:
        UserError: the store was moved or copied; the message says what mends it.
    """
    stray = displacement(client) if experiment is None else _displacement(client, [experiment])
    if stray is not None:
        raise UserError(str(stray))


def warn_of_move(client: "MlflowClient") -> None:
    """Log that the files of a moved or copied store are elsewhere, for work that needs no files."""
    if (stray := displacement(client)) is not None:
        log.warning("%s", stray)


def relocate() -> tuple[Path, int]:
    """Make a moved or copied store use the files beside it; return the sqlite file and the number of changed addresses.

    Changes all addresses or none, and no file. A store in its place stays as it is.

    Raises:
        UserError: the store is no sqlite file, a model's files are not beside it, or the database takes no change.
    """
    client = open_existing_store("relocate")
    if (file := sqlite_file(client.tracking_uri)) is None:
        raise UserError("relocate is for a store in a sqlite file; a server knows its own files")
    stray = displacement(client)
    if stray is None:
        return file, 0
    if not stray.folder.is_dir():
        raise UserError(str(stray))
    try:
        with closing(sqlite3.connect(file)) as database, database:
            changed = sum(_replace(database, old, artifact_location(file)) for old in stray.addresses)
            _check_models(database, stray)
    except sqlite3.Error as error:
        raise UserError(
            f"{file} stays as it was ({error}); end what uses it, and run `cascade-clip relocate` again"
        ) from error
    return file, changed


def _displacement(client: "MlflowClient", experiments: Sequence["Experiment"]) -> Displacement | None:
    if (file := sqlite_file(client.tracking_uri)) is None:
        return None
    locations = {experiment.artifact_location for experiment in experiments}
    addresses = tuple(sorted(address for address in locations if _elsewhere(address, file)))
    return Displacement(file, addresses) if addresses else None


def _elsewhere(address: str, file: Path) -> bool:
    """Return whether an address is that of the files of a store in another folder.

    Such a folder is gone, or lies beside another store. A folder that somebody chose for an experiment is neither.
    """
    if address == artifact_location(file) or not address.startswith("file:"):
        return False
    folder = _path(address)
    if folder.name != ARTIFACTS or os.path.realpath(folder) == os.path.realpath(file.parent / ARTIFACTS):
        return False
    return not _visible(folder) or _visible(folder.parent / file.name)


def _replace(database: sqlite3.Connection, old: str, new: str) -> int:
    """Replace the start of all addresses at or below `old`, and return their number."""
    changed = 0
    for table, columns in COLUMNS.items():
        for column in columns:
            done = database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
            changed += done.rowcount
    return changed


def _check_models(database: sqlite3.Connection, store: Displacement) -> None:
    """Check that the files of all registered models are beside the store.

    Raises:
        UserError: they are not.
    """
    rows = database.execute(
        "SELECT name, version, storage_location FROM model_versions WHERE current_stage != 'Deleted_Internal'"
    ).fetchall()
    below = f"{artifact_location(store.file)}/"
    missing = [
        f"{name} version {version}"
        for name, version, location in rows
        if location and location.startswith(below) and not _path(location).is_dir()
    ]
    if missing:
        raise UserError(
            f"{store.folder} lacks the files of {', '.join(missing)}: put all files from "
            f"{', '.join(str(_path(address)) for address in store.addresses)} there, and run `cascade-clip relocate` again"
        )


def _visible(path: Path) -> bool:
    """Return whether a file or folder is there and may be seen."""
    return os.access(path, os.F_OK)


def _path(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))
