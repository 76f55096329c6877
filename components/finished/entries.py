"""Finished trainings, kept by the key of their content, for all pipelines that share a folder or an object store.

An entry is a folder named by its key: `training` is the folder of the step, and `entry.json` says what it is. That file is
written last, so that an entry is complete if it has one; its hash shows later damage.
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from cascade_core.errors import UserError
from cascade_core.runtime.files import sha256, system_errors_as_user_errors, write_json
from cascade_core.runtime.formats import FORMAT, read_manifest
from cascade_core.runtime.validation import validated
from components.cluster.names import TRAININGS_VARIABLE, VOLUME_VARIABLE
from components.servers.patience import AwayError, patiently
from components.storage import s3, transfer
from components.storage.places import in_store

log = logging.getLogger(__name__)

TRAINING, ENTRY_FILE = "training", "entry.json"
MOST_BYTES = 2**20
"""What is read of an entry's file in an object store."""

KEY = re.compile(r"[0-9a-f]{32}")
Key = Annotated[str, Field(pattern=f"^{KEY.pattern}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Entry(BaseModel):
    """What a finished training is, by whom and when it was made, and how large it is.

    Attributes:
        content: the digest of each part of its content; `key` follows from them.
        mlflow_run: the pipeline's run in MLflow that trained it; "" if tracking was off.
        finished: with its time zone.
        num_bytes: all files of the training together.
        sha256: over names and contents of these files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    key: Key
    content: dict[str, str]
    step: str
    recipe: str
    method: str
    setting: str
    protocol: str
    seed: int
    data_hash: str
    mlflow_run: str = ""
    finished: datetime
    num_bytes: int
    sha256: Digest


@dataclass(frozen=True)
class Unfinished:
    """What an interrupted training or upload left under a key: its bytes, and when they last changed."""

    key: str
    changed: datetime
    num_bytes: int


class Trainings(Protocol):
    """A place of finished trainings."""

    def entries(self) -> Iterator[Entry]:
        """Yield all complete entries in the order of their keys; warn of those that cannot be read."""

    def unfinished(self) -> Iterator[Unfinished]:
        """Yield what interruptions left, and what still works there, in the order of the keys."""

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key; None, with a warning if it cannot be read, if there is no complete one."""

    def fetch(self, entry: Entry, to: Path) -> None:
        """Copy an entry's training to a new folder.

        Raises:
            UserError: it is not what was stored; nothing is left at `to`.
        """

    def add(self, entry: Entry, training: Path) -> None:
        """Store a training's folder; an entry of the same key is replaced.

        Raises:
            UserError: the place does not take it.
        """

    def remove(self, key: str) -> None:
        """Remove an entry, complete or not; one that does not exist is no error."""


@dataclass(frozen=True)
class TrainingsFolder:
    """Finished trainings in a folder, such as one on a volume."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def entries(self) -> Iterator[Entry]:
        for file in sorted(self.root.glob(f"[0-9a-f]*/{ENTRY_FILE}")):
            if (entry := self.find(file.parent.name)) is not None:
                yield entry

    def unfinished(self) -> Iterator[Unfinished]:
        for folder in sorted(self.root.glob("[0-9a-f]*")):
            if KEY.fullmatch(folder.name) and folder.is_dir() and not (folder / ENTRY_FILE).exists():
                stats = [path.stat() for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
                changed = datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC)
                yield Unfinished(folder.name, changed, num_bytes(folder))

    def find(self, key: str) -> Entry | None:
        file = self.root / key / ENTRY_FILE
        return _read(file, key, str(file)) if file.exists() else None

    def fetch(self, entry: Entry, to: Path) -> None:
        with _checked_copy(entry, to, str(self.root / entry.key)):
            shutil.copytree(self.root / entry.key / TRAINING, to)

    def add(self, entry: Entry, training: Path) -> None:
        folder = self.root / entry.key
        with system_errors_as_user_errors(folder):
            if training != folder / TRAINING:
                self.remove(entry.key)
                shutil.copytree(training, folder / TRAINING)
            write_json(folder / ENTRY_FILE, entry.model_dump(mode="json"))

    def remove(self, key: str) -> None:
        folder, dropped = self.root / key, self.root / f".{key}.dropped"
        if dropped.exists():
            shutil.rmtree(dropped)
        if folder.exists():
            folder.rename(dropped)  # the name first: a kill must not leave half an entry that looks whole
            shutil.rmtree(dropped)


@dataclass(frozen=True)
class TrainingsStore:
    """Finished trainings below an address of an object store; requests wait for a store that is away (`patiently`)."""

    address: s3.Address

    def __str__(self) -> str:
        return str(self.address)

    def entries(self) -> Iterator[Entry]:
        client = s3.connect()
        names = patiently(lambda: s3.list_files(client, self.address))
        for name in sorted(names):
            key, _, rest = name.partition("/")
            if rest == ENTRY_FILE and (entry := self._find(client, key)) is not None:
                yield entry

    def unfinished(self) -> Iterator[Unfinished]:
        folders = patiently(lambda: s3.subfolders(s3.connect(), self.address))
        for key, folder in sorted(folders.items()):
            if KEY.fullmatch(key) and ENTRY_FILE not in folder.names:
                yield Unfinished(key, folder.changed, folder.num_bytes)

    def find(self, key: str) -> Entry | None:
        client = s3.connect()
        patiently(lambda: s3.check_bucket(client, self.address))
        return self._find(client, key)

    def fetch(self, entry: Entry, to: Path) -> None:
        folder = self._folder(entry.key)
        with _checked_copy(entry, to, str(folder)):
            patiently(lambda: transfer.fetch(str(folder.below(TRAINING)), to, remembered=False))

    def add(self, entry: Entry, training: Path) -> None:
        folder = self._folder(entry.key)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, ENTRY_FILE)
            write_json(file, entry.model_dump(mode="json"))
            self.remove(entry.key)
            patiently(lambda: transfer.store(training, str(folder.below(TRAINING))))
            patiently(lambda: transfer.store(file, str(folder.below(ENTRY_FILE))))

    def remove(self, key: str) -> None:
        patiently(lambda: s3.remove_folder(s3.connect(), self._folder(key), first=ENTRY_FILE))

    def _find(self, client: Any, key: str) -> Entry | None:
        place = self._folder(key).below(ENTRY_FILE)
        content = patiently(lambda: s3.read_object(client, place, most=MOST_BYTES))
        if content is None:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, ENTRY_FILE)
            file.write_bytes(content)
            return _read(file, key, str(place))

    def _folder(self, key: str) -> s3.Address:
        return self.address.below(key)


def trainings_at(place: str) -> Trainings:
    """Return the finished trainings in a folder, or below an s3:// address.

    Raises:
        UserError: the address is invalid, or the folder's path is not absolute.
    """
    if in_store(place):
        return TrainingsStore(s3.address(place))
    if not Path(place).is_absolute():
        raise UserError(
            f"{place!r} is no place for finished trainings; give an absolute path, or an s3:// address"
        )
    return TrainingsFolder(Path(place))


def kept_trainings() -> Trainings | None:
    """Return the finished trainings in the place that the environment names; None if it names none.

    Raises:
        UserError: the place is invalid.
    """
    place = os.environ.get(TRAININGS_VARIABLE) or os.environ.get(VOLUME_VARIABLE)
    return trainings_at(place) if place else None


def num_bytes(training: Path) -> int:
    """Return the bytes of all files of a training."""
    return sum(path.stat().st_size for path in training.rglob("*") if path.is_file())


def _read(file: Path, key: str, place: str) -> Entry | None:
    try:
        entry = validated(Entry, read_manifest(file), source=place)
    except UserError as error:
        log.warning("a finished training is passed over: %s", error)
        return None
    if entry.key != key:
        log.warning("a finished training is passed over: %s is of key %s", place, entry.key)
        return None
    return entry


@contextmanager
def _checked_copy(entry: Entry, to: Path, place: str) -> Iterator[None]:
    """Check what the block copies to `to`, and remove it if it is not the entry's training."""
    try:
        yield
        if sha256(to) != entry.sha256:
            raise UserError(f"{place}: the files are not those that were stored (their SHA-256 differs)")
    except AwayError:
        raise
    except (UserError, OSError, shutil.Error) as error:
        shutil.rmtree(to, ignore_errors=True)
        raise UserError(f"{place} cannot be used: {error}") from error
