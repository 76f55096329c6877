"""Data sets, weights and reports to and from an object store: whole or not at all, checked, and resumable.

A file is one object, which carries its SHA-256. A folder is a prefix; the object `_files.json` in it is
written last and lists every file with size and hash, so that a folder that is still being stored is told from
a whole one. A call that was interrupted is repeated: files that are there already, by their hash, are not
moved again. boto3's transfer manager moves the bytes, large files in parts, several at a time.
"""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, put_in_place, sha256
from cascade_core.runtime.pool import parallel_map
from components.progress import progress
from components.storage.s3 import RETRIES, Address, address, check_bucket, connect, found, listed, told

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig

log = logging.getLogger(__name__)

INDEX, HASH = "_files.json", "sha256"
MEBIBYTE = 2**20
PART_BYTES, THREADS = 16 * MEBIBYTE, 4
"""A larger file is moved in parts of this size; so many files, and parts of each, are moved at a time."""


@dataclass(frozen=True)
class Moved:
    """How many files a call was about, their size, and how many were there already."""

    files: int
    num_bytes: int
    kept: int


@dataclass(frozen=True)
class Item:
    """A file of a folder: its name in it, size, and SHA-256 where that is known."""

    name: str
    size: int
    sha256: str | None


def store(path: Path, uri: str) -> Moved:
    """Copy a file or a folder to an address; what stands there is replaced file by file, the index last.

    Raises:
        UserError: there is no such file, it is an empty folder, the address is none, or the store does not
            answer, does not know the bucket, refuses, or breaks off (then repeat the call).
    """
    place = address(uri)
    if not path.exists():
        raise UserError(f"{path} does not exist; give a file or a folder to store")
    if path.is_file() and (not place.key or place.key.endswith("/")):
        place = place.below(path.name)
    files = [Item("", path.stat().st_size, None)] if path.is_file() else _files(path)
    if not files:
        raise UserError(f"{path} is a folder without files; there is nothing to store")
    client = connect()
    check_bucket(client, place)
    there = {} if path.is_file() else listed(client, place)
    with _counted(f"store {path.name}", files) as count:

        def send(item: Item) -> tuple[Item, bool]:
            source, target = (path / item.name, place.below(item.name)) if item.name else (path, place)
            hashed = Item(item.name, item.size, sha256(source))
            kept = (not item.name or there.get(item.name) == item.size) and _same(client, target, hashed)
            if kept:
                count(item.size)
            else:
                _send(client, source, target, hashed, count)
            return hashed, kept

        done = parallel_map(send, files, workers=THREADS)
    if path.is_dir():
        body = json.dumps({"files": [vars(item) for item, _ in done]}, indent=1).encode()
        with told(place):
            client.put_object(Bucket=place.bucket, Key=place.below(INDEX).key, Body=body)
    return _moved(done)


def fetch(uri: str, to: Path) -> Moved:
    """Copy an object to the file `to`, or all below a prefix to the folder `to`, which is replaced whole.

    Until all of it is there and its hashes are right, `to` stays as it was; the files of a folder that an
    interrupted call got lie beside it, hidden, for the next one. Folders that other tools stored have no index:
    their files are held against the sizes the store names, and against its own checksums where it has any.

    Raises:
        UserError: there is nothing at the address, a folder there is not whole, what arrived is not what was
            stored, the disk is full, or as of `store`.
    """
    place = address(uri)
    client = connect()
    check_bucket(client, place)
    head = found(client, place) if place.key and not place.key.endswith("/") else None
    if head is not None:
        return _fetch_file(client, place, head, to / PurePosixPath(place.key).name if to.is_dir() else to)
    items = _indexed(client, place)
    working = to.with_name(f".{to.name}.fetching")
    with _counted(f"fetch {to.name}", items) as count:

        def get(item: Item) -> tuple[Item, bool]:
            for folder in (working, to):
                if _is(folder / item.name, item):
                    count(item.size)
                    if folder == to:
                        with new_file(working / item.name) as partial:
                            shutil.copyfile(to / item.name, partial)
                    return item, True
            _get(client, place.below(item.name), item, working / item.name, count)
            return item, False

        done = parallel_map(get, items, workers=THREADS)
    _drop_strangers(working, {item.name for item in items})
    put_in_place(working, to)
    return _moved(done)


def _fetch_file(client: Any, place: Address, head: dict[str, Any], to: Path) -> Moved:
    item = _described(to.name, head)
    kept = _is(to, item)
    if not kept:
        with _counted(f"fetch {to.name}", [item]) as count:
            _get(client, place, item, to, count)
    return _moved([(item, kept)])


def _indexed(client: Any, folder: Address) -> list[Item]:
    there = listed(client, folder)
    if not there:
        raise UserError(f"there is nothing at {folder}; check the address, and that it was stored")
    if INDEX not in there:
        log.warning("%s has no %s, so that nothing says whether it is whole", folder, INDEX)
        return [Item(_safe(name, folder), size, None) for name, size in there.items()]
    place = folder.below(INDEX)
    with told(place):
        body = client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    try:
        items = [Item(**entry) for entry in json.loads(body)["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} is no index of files ({error}); store the folder again") from error
    missing = [item.name for item in items if there.get(_safe(item.name, folder)) != item.size]
    if missing:
        raise UserError(
            f"{folder} is not whole: {len(missing)} files are missing or of another size, {missing[0]} for one; "
            "store it again, or wait until that is done"
        )
    return items


def _safe(name: str, folder: Address) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(f"{folder}: the name {name!r} leads out of the folder; it is not fetched")
    return name


def _send(client: Any, source: Path, target: Address, item: Item, count: Callable[[int], None]) -> None:
    metadata = {HASH: str(item.sha256)}
    with told(target), source.open("rb") as stream:
        client.upload_fileobj(
            stream,
            target.bucket,
            target.key,
            ExtraArgs={"Metadata": metadata},
            Callback=count,
            Config=_in_parts(),
        )
    if not _same(client, target, item):
        raise UserError(f"{target} is not what was sent from {source}; did the file change? Store it again")


def _get(client: Any, place: Address, item: Item, to: Path, count: Callable[[int], None]) -> None:
    with new_file(to) as partial:
        with told(place), partial.open("wb") as stream:
            client.download_fileobj(place.bucket, place.key, stream, Callback=count, Config=_in_parts())
        if not _is(partial, item):
            raise UserError(
                f"{place} did not arrive as it was stored ({item.size} bytes, SHA-256 {item.sha256 or 'unknown'}); "
                "fetch it again, and store it again if that does not help"
            )


def _in_parts() -> "TransferConfig":
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=THREADS,
        num_download_attempts=RETRIES,
    )


def _same(client: Any, target: Address, item: Item) -> bool:
    head = found(client, target)
    return head is not None and _described(item.name, head) == item


def _described(name: str, head: dict[str, Any]) -> Item:
    return Item(name, head["ContentLength"], head.get("Metadata", {}).get(HASH))


def _is(path: Path, item: Item) -> bool:
    if not path.is_file() or path.stat().st_size != item.size:
        return False
    return item.sha256 is None or sha256(path) == item.sha256


def _files(folder: Path) -> list[Item]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / INDEX)
    return [Item(path.relative_to(folder).as_posix(), path.stat().st_size, None) for path in paths]


@contextmanager
def _counted(description: str, items: Iterable[Item]) -> Iterator[Callable[[int], None]]:
    """Show progress in MiB; the function given counts bytes, from any thread."""
    total, done, lock = sum(item.size for item in items), 0, threading.Lock()
    with progress(f"{description} (MiB)", -(-total // MEBIBYTE)) as bar:

        def count(num_bytes: int) -> None:
            nonlocal done
            with lock:
                done += num_bytes
                bar.advance(-(-done // MEBIBYTE) if done >= total else done // MEBIBYTE)

        yield count


def _drop_strangers(folder: Path, names: set[str]) -> None:
    """Remove what an earlier, interrupted call fetched of a folder that has changed since."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in names:
            path.unlink()


def _moved(done: list[tuple[Item, bool]]) -> Moved:
    return Moved(len(done), sum(item.size for item, _ in done), sum(kept for _, kept in done))
