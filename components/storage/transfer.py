"""Store files and folders in an object store and fetch them: complete or not at all, verified, and resumable.

A file is one object with its SHA-256. A folder is a prefix; its index, the object `_files.json`, lists every file with
size and hash. The index is written last, so that an incomplete folder is recognized. A repeated call skips the files
that were already transferred, by their hash. boto3's transfer manager moves large files in parts, several at a time.
"""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.s3.transfer import TransferConfig

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, put_in_place, sha256
from cascade_core.runtime.pool import parallel_map
from components.progress import progress
from components.storage import s3
from components.storage.s3 import Address

log = logging.getLogger(__name__)

INDEX, HASH = "_files.json", "sha256"
MEBIBYTE = 2**20
PART_BYTES, THREADS = 16 * MEBIBYTE, 4
"""The part size of larger files, and the number of files, and of parts of each, that move at a time."""


@dataclass(frozen=True)
class Moved:
    """The number of files in a transfer, their size, and how many were skipped because they were there already."""

    files: int
    num_bytes: int
    kept: int


@dataclass(frozen=True)
class Item:
    """A file: its name in the folder, size, and SHA-256 if known."""

    name: str
    size: int
    sha256: str | None


def store(path: Path, uri: str) -> Moved:
    """Copy a file or a folder to an address; existing objects are replaced one by one, the index last.

    Raises:
        UserError: there is no such file, the folder is empty, the address is invalid, or the store does not
            answer, lacks the bucket, refuses, or breaks off (then repeat the call).
    """
    place = s3.address(uri)
    if not path.exists():
        raise UserError(f"{path} does not exist; give a file or a folder to store")
    if path.is_file():
        if not place.key or place.key.endswith("/"):
            place = place.below(path.name)
        items = [Item("", path.stat().st_size, None)]
    else:
        files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / INDEX)
        items = [Item(file.relative_to(path).as_posix(), file.stat().st_size, None) for file in files]
    if not items:
        raise UserError(f"{path} is a folder without files; there is nothing to store")
    client = s3.connect()
    s3.check_bucket(client, place)
    stored_sizes = {} if path.is_file() else s3.list_files(client, place)
    with _byte_counter(f"store {path.name}", items) as count:

        def send(item: Item) -> tuple[Item, bool]:
            source, target = (path / item.name, place.below(item.name)) if item.name else (path, place)
            hashed = Item(item.name, item.size, sha256(source))
            kept = (not item.name or stored_sizes.get(item.name) == item.size) and _same(
                client, target, hashed
            )
            if kept:
                count(item.size)
            else:
                _send(client, source, target, hashed, count)
            return hashed, kept

        done = parallel_map(send, items, workers=THREADS)
    if path.is_dir():
        body = json.dumps({"files": [vars(item) for item, _ in done]}, indent=1).encode()
        with s3.translate_errors(place):
            client.put_object(Bucket=place.bucket, Key=place.below(INDEX).key, Body=body)
    return _moved(done)


def fetch(uri: str, to: Path) -> Moved:
    """Copy an object to the file `to`, or all objects below a prefix to the folder `to`, which is replaced.

    `to` stays unchanged until everything has arrived with the right hash. Files of an interrupted call stay in a
    hidden folder next to it, for the next call. Folders stored by other tools have no index; their files are checked
    against the sizes in the store, and against its checksums if there are any.

    Raises:
        UserError: there is nothing at the address, the folder there is incomplete, a file differs from what was
            stored, the disk is full, or as for `store`.
    """
    place = s3.address(uri)
    client = s3.connect()
    s3.check_bucket(client, place)
    head = s3.head_object(client, place) if place.key and not place.key.endswith("/") else None
    # An empty object may stand for a folder: some tools make one.
    if head is not None and (head["ContentLength"] or not s3.list_files(client, place)):
        file = to / PurePosixPath(place.key).name if to.is_dir() else to
        item = _item(file.name, head)
        kept = _matches(file, item)
        if not kept:
            with _byte_counter(f"fetch {file.name}", [item]) as count:
                _get(client, place, item, file, count)
        return _moved([(item, kept)])
    items = _read_index(client, place)
    working = to.with_name(f".{to.name}.fetching")
    with _byte_counter(f"fetch {to.name}", items) as count:

        def get(item: Item) -> tuple[Item, bool]:
            for folder in (working, to):
                if _matches(folder / item.name, item):
                    count(item.size)
                    if folder == to:
                        with new_file(working / item.name) as partial:
                            shutil.copyfile(to / item.name, partial)
                    return item, True
            _get(client, place.below(item.name), item, working / item.name, count)
            return item, False

        done = parallel_map(get, items, workers=THREADS)
    # An interrupted call may have fetched files that the folder no longer has.
    names = {item.name for item in items}
    for path in [path for path in working.rglob("*") if path.is_file()]:
        if path.relative_to(working).as_posix() not in names:
            path.unlink()
    put_in_place(working, to)
    return _moved(done)


def _read_index(client: Any, folder: Address) -> list[Item]:
    sizes = s3.list_files(client, folder)
    if not sizes:
        raise UserError(f"there is nothing at {folder}; check the address, and that it was stored")
    if INDEX not in sizes:
        log.warning("%s has no %s, so nothing shows whether it is complete", folder, INDEX)
        return [Item(_safe(name, folder), size, None) for name, size in sizes.items()]
    place = folder.below(INDEX)
    with s3.translate_errors(place):
        body = client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    try:
        items = [Item(**entry) for entry in json.loads(body)["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} is no index of files ({error}); store the folder again") from error
    missing = [item.name for item in items if sizes.get(_safe(item.name, folder)) != item.size]
    if missing:
        raise UserError(
            f"{folder} is not complete: {len(missing)} files are missing or of another size, such as {missing[0]}; "
            "store it again, or wait until that is done"
        )
    return items


def _safe(name: str, folder: Address) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(f"{folder}: the name {name!r} leads out of the folder; it is not fetched")
    if str(path) != name or "\0" in name:
        raise UserError(f"{folder}: no file can have the name {name!r}; rename that object, then fetch again")
    return name


def _send(client: Any, source: Path, target: Address, item: Item, count: Callable[[int], None]) -> None:
    with s3.translate_errors(target), source.open("rb") as stream:
        client.upload_fileobj(
            stream,
            target.bucket,
            target.key,
            ExtraArgs={"Metadata": {HASH: str(item.sha256)}},
            Callback=count,
            Config=_transfer_config(),
        )
    if not _same(client, target, item):
        raise UserError(
            f"{target} differs from {source}; if the file changed during the call, store it again"
        )


def _get(client: Any, place: Address, item: Item, to: Path, count: Callable[[int], None]) -> None:
    with new_file(to) as partial:
        with s3.translate_errors(place), partial.open("wb") as stream:
            client.download_fileobj(
                place.bucket, place.key, stream, Callback=count, Config=_transfer_config()
            )
        if not _matches(partial, item):
            raise UserError(
                f"{place} did not arrive as it was stored ({item.size} bytes, SHA-256 {item.sha256 or 'unknown'}); "
                "fetch it again, and store it again if that does not help"
            )


def _transfer_config() -> TransferConfig:
    return TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=THREADS,
        num_download_attempts=s3.RETRIES,
    )


def _same(client: Any, target: Address, item: Item) -> bool:
    head = s3.head_object(client, target)
    return head is not None and _item(item.name, head) == item


def _item(name: str, head: dict[str, Any]) -> Item:
    return Item(name, head["ContentLength"], head.get("Metadata", {}).get(HASH))


def _matches(path: Path, item: Item) -> bool:
    if not path.is_file() or path.stat().st_size != item.size:
        return False
    return item.sha256 is None or sha256(path) == item.sha256


@contextmanager
def _byte_counter(description: str, items: Iterable[Item]) -> Iterator[Callable[[int], None]]:
    """Show progress in MiB; yield a thread-safe function that counts transferred bytes."""
    total, done, lock = sum(item.size for item in items), 0, threading.Lock()
    with progress(f"{description} (MiB)", -(-total // MEBIBYTE)) as bar:

        def count(num_bytes: int) -> None:
            nonlocal done
            with lock:
                done += num_bytes
                bar.advance(-(-done // MEBIBYTE) if done >= total else done // MEBIBYTE)

        yield count


def _moved(done: list[tuple[Item, bool]]) -> Moved:
    return Moved(len(done), sum(item.size for item, _ in done), sum(kept for _, kept in done))
