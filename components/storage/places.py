"""Resolve addresses of large data, which steps read in place instead of passing them on.

A folder is read where it is, on a volume. Data in an object store are fetched once to the node's cache, for all later
steps.
"""

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path, PurePosixPath

from cascade_core.clip.home import clip_folder
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from components.servers.patience import patiently

S3 = "s3://"
REGISTRY = ("models:/", "runs:/")
"""Prefixes of MLflow addresses of models; every other address is a folder, or in an object store."""
CACHE_VARIABLE, CACHE = "CASCADE_CACHE", "cascade-clip"
"""The variable that names the cache folder, and the default name; a cache on a volume outlives the pod."""


def in_store(place: str) -> bool:
    """Return whether a place is in an object store, and not on a disk."""
    return place.startswith(S3)


def cache_folder() -> Path:
    """Return the cache folder: the one in `CASCADE_CACHE`, or the user's own.

    The user's own is `~/.cache/cascade-clip` (or in `XDG_CACHE_HOME`). Without a writable home, as in a pod with a
    read-only root, it is a temporary folder that only the user can write to, because cached files are trusted.

    Raises:
        UserError: there is no home, and the temporary folder belongs to or is writable for somebody else.
    """
    if configured := os.environ.get(CACHE_VARIABLE):
        return Path(configured)
    try:
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / CACHE
        own.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # The home is unknown, or not writable.
        return _private_folder()
    return own if os.access(own, os.W_OK) else _private_folder()


def _private_folder() -> Path:
    if sys.platform == "win32":  # its temporary folder is the user's own
        return Path(tempfile.gettempdir(), CACHE)
    folder = Path(tempfile.gettempdir(), f"{CACHE}-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise UserError(
            f"{folder} is no folder that you alone can write to; remove it, or set {CACHE_VARIABLE} to another folder"
        )
    return folder


def check_place(name: str, place: str) -> None:
    """Check the form of an address, but not whether it exists: a machine outside the cluster cannot see that.

    Raises:
        UserError: the address is empty, or neither a path nor s3://.
    """
    if not place.strip():
        raise UserError(f"parameter {name} is empty; give the folder, such as /data/mini/{name}")
    if "://" in place and not in_store(place):
        raise UserError(
            f"parameter {name} is {place!r}; steps read folders and s3:// addresses: mount the data as a volume, "
            "or store it with `cascade-clip store`"
        )


def folder(name: str, place: str) -> Path:
    """Return the folder at an address, fetched if it is in an object store.

    Raises:
        UserError: the address is invalid, there is no such folder, or it cannot be fetched.
    """
    check_place(name, place)
    if in_store(place):
        return _cached(place)
    if name == "clip":
        place = str(clip_folder(Path(place)))
    if not Path(place).is_dir():
        raise _missing(f"{name}: folder", place)
    return Path(place)


def protocol(name_or_place: str) -> str:
    """Return a protocol's name unchanged, and a label file's address as a path, fetched if it is in an object store.

    Raises:
        UserError: the label file does not exist, or cannot be fetched.
    """
    if not is_label_file(name_or_place):
        return name_or_place
    check_place("protocol", name_or_place)
    path = _cached(name_or_place) if in_store(name_or_place) else Path(name_or_place)
    if not path.is_file():
        raise _missing("protocol: label file", path)
    return str(path)


def model(name_or_place: str) -> str:
    """Return a model's name, folder or address in the registry unchanged, and the folder of an s3:// address, fetched.

    Raises:
        UserError: it cannot be fetched.
    """
    return str(_cached(name_or_place)) if in_store(name_or_place) else name_or_place


def experiment(name_or_place: str) -> str:
    """Return the experiment of a pipeline's run: the protocol, or the label file's name without folder and suffix.

    Does not read the file, because the first and the last step of a pipeline have no data.
    """
    return PurePosixPath(name_or_place).stem if is_label_file(name_or_place) else name_or_place


def _missing(what: str, path: Path | str) -> UserError:
    return UserError(
        f"parameter {what} {path} does not exist where the step runs; check the volume, and what is on it"
    )


def _cached(uri: str) -> Path:
    """Fetch an s3:// address to the cache, unless it is there, and return the path of its copy.

    The cache never replaces a copy, because other steps may be reading it: changed data need a new address. Retries
    while the store is unavailable, as `components.servers.patience` says; files that have arrived are kept.
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
