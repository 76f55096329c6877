"""Where large data lie: steps are given an address and read it in place; nothing large travels between them.

A folder is read where it is, on a volume. What lies in an object store is fetched once to the node's cache,
where the next step finds it.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path, PurePosixPath

from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from components.patience import patiently

URI_MARK, S3 = "://", "s3://"
CACHE_VARIABLE, CACHE = "CASCADE_CACHE", "cascade-clip"
"""Which folder keeps what was fetched, and its name among other programs' caches; one on a volume outlives the pod."""


def cache_folder() -> Path:
    """Give the folder where what is costly to get is kept: the environment's, else one of the user's alone.

    That is `~/.cache/cascade-clip` (or in `XDG_CACHE_HOME`), and where there is no home to write to, as in a pod
    whose root is read-only, a folder among temporary files that nobody else may write to: what lies in a cache
    is believed.

    Raises:
        UserError: there is no home, and that folder is somebody else's or open to others.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    try:
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / CACHE
        own.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # No home is known, or it cannot be written to.
        return _private()
    return own if os.access(own, os.W_OK) else _private()


def _private() -> Path:
    folder = Path(tempfile.gettempdir(), f"{CACHE}-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(
            f"{folder} is no folder that you alone can write to; remove it, or set {CACHE_VARIABLE} to one that is"
        )
    return folder


def check_place(name: str, place: str) -> None:
    """Check an address without looking whether anything is there, as a machine outside the cluster must.

    Raises:
        UserError: it is empty, or neither a path nor an s3:// address.
    """
    if not place.strip():
        raise UserError(f"parameter {name} is empty; give the folder, such as /data/mini/{name}")
    if URI_MARK in place and not place.startswith(S3):
        raise UserError(
            f"parameter {name} is {place!r}; steps read folders and s3:// addresses: mount the data as a volume, "
            "or store it with `cascade-clip store`"
        )


def folder(name: str, place: str) -> Path:
    """Give the folder at an address, fetched if it lies in an object store.

    Raises:
        UserError: the address is none, no folder is there, or it cannot be fetched.
    """
    check_place(name, place)
    if place.startswith(S3):
        return _cached(place)
    if not Path(place).is_dir():
        raise UserError(
            f"parameter {name}: folder {place} does not exist where the step runs; check the volume, and what is on it"
        )
    return Path(place)


def protocol(name_or_place: str) -> str:
    """Give a protocol as steps take it: a name as it is, a label file as a path, fetched from an object store.

    Raises:
        UserError: the label file is not there, or cannot be fetched.
    """
    if not is_label_file(name_or_place):
        return name_or_place
    check_place("protocol", name_or_place)
    path = _cached(name_or_place) if name_or_place.startswith(S3) else Path(name_or_place)
    if not path.is_file():
        raise UserError(
            f"parameter protocol: label file {path} does not exist where the step runs; check the volume, and what is on it"
        )
    return str(path)


def experiment(name_or_place: str) -> str:
    """Name the experiment of a pipeline's run: the protocol, or the label file without its folder and suffix.

    Read from the address alone, because the first and the last step of a pipeline see no data.
    """
    return PurePosixPath(name_or_place).stem if is_label_file(name_or_place) else name_or_place


def _cached(uri: str) -> Path:
    """Fetch an address to the cache, unless it is there: other steps may be reading it, so it is never replaced.

    Data that change get a new address, as the stored data sets of a team do. A store that is away is waited for
    as patience says; what was fetched before it went is kept.
    """
    from filelock import FileLock

    from components.storage import transfer as storage

    uri = uri.rstrip("/")
    target = cache_folder() / hashlib.sha256(uri.encode()).hexdigest()[:16] / uri.rpartition("/")[2]
    target.parent.mkdir(parents=True, exist_ok=True)
    # Several steps may start on one node at a time.
    with FileLock(target.parent / ".lock"):
        if not target.exists():
            patiently(lambda: storage.fetch(uri, target))
    return target
